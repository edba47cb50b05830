"""KFP components: thin shells over the core and the backends."""
