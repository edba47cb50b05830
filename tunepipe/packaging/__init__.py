"""Packs the code that a component carries."""
