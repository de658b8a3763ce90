"""A TensorFlow Serving server in Python: `tensorflow_model_server`'s flags, gRPC services and REST paths.

It stands in for the real binary on machines that cannot have it, and says so when it starts. It is a program of its
own (`modelport-tfserving`, or `python -m modelport_tfserving.server`) that needs TensorFlow, the `tensorflow_serving`
message classes, gRPC and numpy, and nothing of modelport.

How it reads, from the outside in:

- `flags` turns the command line into `Options`, `plan` reads and checks all that they name, `process` starts the
  parts in order and stops them, `listeners` opens the ports;
- `configs` reads the text-proto files, `versions` finds version directories, `manager` decides which versions are
  loaded and lends them to requests, `loader` makes one ready: `servable` loads and runs a SavedModel, `tflite` a
  TensorFlow Lite model, `batching` joins the requests of several clients, `warmup` replays recorded ones, `xla` finds
  what the real server would not run;
- `inference` is the work behind Predict, Classify (with `examples`) and the rest, on numpy arrays;
- `rpc` and `rest` are the two doors to it, `health` and `profiler` the standard services beside `rpc`. `tensors`
  carries arrays through protobuf; `json_requests`, `json_examples`, `json_tensors` and `json_numbers` read JSON,
  `json_answers`, `json_text` and `json_floats` write it, and `httpd` is the HTTP listener;
- `statuses` and `metrics` are what every part reports with, `messages` has the protocol messages that no package has.
"""
