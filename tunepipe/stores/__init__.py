"""Where files lie (this machine, Cloud Storage, S3), and the records that runs keep there."""
