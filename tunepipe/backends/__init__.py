"""The interface of tuners and predictors, and one package for each backend."""
