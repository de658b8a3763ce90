"""The model spec: its schema, and reading one with the position of everything that is wrong."""
