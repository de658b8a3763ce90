"""What rides inside Bentos: the machinery behind their ``service.py``.

`schemas` says in JSON Schema what a signature takes and gives, `bodies` hands request bodies to the service,
`predictor` answers them, `batching` joins them, and `service` makes BentoML's OpenAPI document tell the truth.

Imports BentoML and what comes with it, numpy and `modelport_runtime`; nothing else of modelport, so that a Bento
runs where modelport is not installed.
"""
