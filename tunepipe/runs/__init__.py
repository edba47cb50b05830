"""Submit, follow and schedule runs, locally and on Vertex AI."""
