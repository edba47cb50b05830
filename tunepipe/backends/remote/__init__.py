"""Training on other machines: what goes through a store, the program there, and TrainJobs."""
