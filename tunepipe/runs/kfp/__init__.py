"""Runs and schedules on a host of open-source Kubeflow Pipelines."""
