"""Train and evaluation split without leakage."""
