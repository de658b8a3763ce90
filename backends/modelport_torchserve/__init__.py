"""modelport's backend for TorchServe 0.12."""
