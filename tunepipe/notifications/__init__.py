"""Messages that tell people how a run ended."""
