"""Plug-ins: classes that installed distributions name in an entry-point group."""

from __future__ import annotations

from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from modelport.errors import SpecError

T = TypeVar("T")


def plugin_names(group: str) -> tuple[str, ...]:
    """Names of all that is registered in a group, sorted."""
    return tuple(sorted(_registered(group)))


def load_plugin(group: str, name: str, kind: type[T]) -> T:
    """Make one: its class without arguments.

    Args:
        group: The entry-point group.
        name: The name that it is registered by.
        kind: The protocol that plug-ins of the group satisfy; messages call them by its name, in lower case.

    Raises:
        SpecError: No installed distribution registers the name, or what it registers does not load or satisfy the
            protocol.
    """
    what = kind.__name__.lower()
    registered = _registered(group)
    if name not in registered:
        near = get_close_matches(name, registered, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise SpecError(f"no {what} is called {name!r}; installed: {', '.join(sorted(registered))}.{hint}")
    origin = f"the entry point {registered[name].value!r} in {group}"
    try:
        plugin = registered[name].load()()
    except (ImportError, AttributeError, TypeError) as error:
        raise SpecError(f"{origin} does not load: {error}. Install its distribution anew, or remove it") from error
    if not isinstance(plugin, kind):
        raise SpecError(f"{origin} is no {what}")
    return plugin


def _registered(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}
