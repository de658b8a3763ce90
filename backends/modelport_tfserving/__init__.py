"""The TensorFlow Serving backend: model directory, configuration files, warm-up records, and an embedded server."""
