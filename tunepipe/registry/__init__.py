"""Which model is in service, and what was seen and decided."""
