"""Tuning jobs of Vertex AI: Gemini and open models."""
