"""Training steps, hours and dollars."""
