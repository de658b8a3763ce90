"""What backends take under ``backends.<name>``, asked of the backends themselves."""

from __future__ import annotations

from pydantic import BaseModel, ValidationError

from modelport.backend import Backend, backend_names, load_backend


def options_type(backend: Backend) -> type[BaseModel] | None:
    """Give the type of a backend's options; None when some are required, so that none can be made to look at."""
    try:
        return type(backend.parse_options({}))
    except ValidationError:
        return None


def all_option_types() -> dict[str, type[BaseModel]]:
    """Give the type of the options of every installed backend, by the backend's name."""
    types = {name: options_type(load_backend(name)) for name in backend_names()}
    return {name: kind for name, kind in types.items() if kind is not None}
