"""Find every problem of a dataset."""
