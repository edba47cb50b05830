"""Ask held-out rows, measure the answers, and compare two models."""
