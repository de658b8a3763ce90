"""Conversions between model formats, as edges of a small graph that a route is searched over.

`route` is plain data and names the edges; every other module is one edge and imports its heavy libraries inside
the functions that need them.
"""
