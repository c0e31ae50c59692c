"""Benchmarks: programs that print a table, each figure beside one measured in the same run. Never tests."""
