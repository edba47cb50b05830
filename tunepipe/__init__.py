"""Validated, costed, gated tuning pipelines for language models."""
