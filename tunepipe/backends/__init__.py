"""What a tuner and a predictor must offer, and one package for each backend."""
