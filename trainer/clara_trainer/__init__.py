"""What runs inside Clara's Job pods: train, evaluate, record. It never talks to the Kubernetes API."""
