"""Sample reports for `docs/`, from made-up data."""
