"""Row formats: detect, read, convert and compare."""
