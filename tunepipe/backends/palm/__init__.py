"""Google's tune-large-model template."""
