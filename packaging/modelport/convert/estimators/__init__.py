"""Converters of our own, for estimators that skl2onnx does not know, or writes otherwise than they answer.

Each module converts estimators of one kind and offers ``converters()``. `converter.Converter` is what skl2onnx is
given, `subgraph.Subgraph` what its nodes are written with; `rewriting` changes what skl2onnx's own converters see.
"""
