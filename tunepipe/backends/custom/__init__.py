"""Tuning and asking open models on accelerators of one's own project, by Vertex AI custom jobs."""
