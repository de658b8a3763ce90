"""What rides inside artifacts: engines that load and run a model, tensor codecs, the TorchServe handler.

Imports numpy, the standard library and the model's own framework; nothing else of modelport, so that an
artifact runs where modelport is not installed.
"""
