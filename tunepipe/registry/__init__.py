"""Records of the model in service, of data that were seen, and of decisions."""
