"""The place for Dockerfiles, Compose and Kubernetes manifests, made from the plan that runs locally. Empty in 0.1."""
