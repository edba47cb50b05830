"""Stores of files (local, Cloud Storage, S3), and the records that runs keep there."""
