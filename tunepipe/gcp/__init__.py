"""Google Cloud: clients, storage, and paid jobs that are started once and followed."""
