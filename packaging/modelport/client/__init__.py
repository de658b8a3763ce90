"""Clients: one way to call a model, whichever server answers."""
