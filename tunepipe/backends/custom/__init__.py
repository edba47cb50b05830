"""Tuning and asking open models on accelerators in the user's project, by Vertex AI custom jobs."""
