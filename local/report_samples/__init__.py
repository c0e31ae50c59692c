"""Samples of the reports for `docs/`, of what never happened."""
