"""Training on several nodes of a Kubernetes cluster, by Kubeflow Trainer."""
