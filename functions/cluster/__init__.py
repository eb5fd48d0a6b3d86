"""A platform on a cluster, seen through the Kubernetes API: state, applying, findings, logs."""
