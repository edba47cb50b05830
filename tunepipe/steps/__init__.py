"""Bodies of the components: artifacts in, artifacts out."""
