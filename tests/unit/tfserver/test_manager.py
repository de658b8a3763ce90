"""The manager's decisions, with a loader that loads nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelport_tfserving.server.configs import ModelConfig, VersionPolicy
from modelport_tfserving.server.manager import ManagerSettings, ModelManager, State
from modelport_tfserving.server.statuses import Code, ServingError, not_found


class Loaded:
    """Stands for a servable: counts its users and knows whether it was closed."""

    def __init__(self, name: str, version: int) -> None:
        self.name, self.version, self.users, self.closed = name, version, 0, False

    def acquire(self) -> None:
        assert not self.closed
        self.users += 1

    def release(self) -> None:
        self.users -= 1

    def close(self) -> None:
        while self.users:
            time.sleep(0.001)
        self.closed = True


class Spec:
    """Stands for a ModelSpec message."""

    def __init__(self, name: str, version: int | None = None, label: str | None = None) -> None:
        self.name, self.version_label, self.version = name, label, type("V", (), {"value": version})
        self._choice = "version" if version is not None else "version_label" if label else None

    def WhichOneof(self, _group: str) -> str | None:  # noqa: N802 (protobuf's name)
        return self._choice


class Loader:
    """Loads every version but the broken ones; a version can be held in loading."""

    def __init__(self) -> None:
        self.broken: set[int] = set()
        self.attempts: list[int] = []
        self.failures: list[int] = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, name: str, version: int, path: Path) -> Any:
        self.attempts.append(version)
        assert self.go.wait(20)
        assert path.name == str(version)
        if version in self.broken:
            self.failures.append(version)
            raise not_found(f"version {version} is broken")
        return Loaded(name, version)


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
def make_manager(loader: Loader) -> Iterator[Callable[..., ModelManager]]:
    made: list[ModelManager] = []

    def make(**settings: Any) -> ModelManager:
        made.append(ModelManager(loader, ManagerSettings(**({"load_retry_interval": 0.01} | settings))))
        return made[-1]

    yield make
    for manager in made:
        manager.stop()


def _never() -> bool:
    return False


def _add(base: Path, *versions: int) -> None:
    for version in versions:
        (base / str(version)).mkdir(parents=True)


def _wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def _await_states(manager: ModelManager, expected: dict[int, State]) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        states = {number: state for number, state, _ in manager.list_states("m")}
        if states == expected:
            return
        time.sleep(0.005)
    pytest.fail(f"{states} is not {expected}")


def test_the_latest_is_lent_and_a_new_version_replaces_it(
    tmp_path: Path, loader: Loader, make_manager: Callable[..., ModelManager]
) -> None:
    _add(tmp_path, 1, 2)
    manager = make_manager()
    manager.configure([ModelConfig(name="m", base_path=tmp_path)], _never)
    assert loader.attempts == [2]
    with manager.hold(Spec("m")) as old:
        loader.go.clear()
        _add(tmp_path, 10)
        manager.poll()
        _await_states(manager, {10: State.LOADING, 2: State.AVAILABLE})
        loader.go.set()
        _await_states(manager, {10: State.AVAILABLE, 2: State.UNLOADING})
        with manager.hold(Spec("m")) as new:
            assert (old.version, new.version) == (2, 10)
        assert not old.closed  # type: ignore[attr-defined]  # a fake
        with pytest.raises(ServingError, match=r"Servable not found for request: Specific\(m, 2\)"):
            manager._find(Spec("m", 2))
    _await_states(manager, {10: State.AVAILABLE, 2: State.END})
    assert old.closed  # type: ignore[attr-defined]  # a fake


def test_a_broken_version_ends_after_its_retries_and_the_old_one_stays(
    tmp_path: Path, loader: Loader, make_manager: Callable[..., ModelManager]
) -> None:
    _add(tmp_path, 1)
    manager = make_manager(max_num_load_retries=2)
    manager.configure([ModelConfig(name="m", base_path=tmp_path)], _never)
    loader.broken.add(2)
    _add(tmp_path, 2)
    manager.poll()
    _await_states(manager, {2: State.END, 1: State.AVAILABLE})
    assert loader.attempts == [1, 2, 2, 2]
    error = manager.list_states("m")[0][2]
    assert error is not None
    assert error.code is Code.NOT_FOUND
    manager.poll()
    assert loader.attempts == [1, 2, 2, 2]
    # Gone and back again is a new version, and a new chance.
    (tmp_path / "2").rmdir()
    manager.poll()
    loader.broken.clear()
    _add(tmp_path, 2)
    manager.poll()
    _await_states(manager, {2: State.AVAILABLE, 1: State.END})


def test_a_first_version_that_is_broken_fails_the_configuration(
    tmp_path: Path, loader: Loader, make_manager: Callable[..., ModelManager]
) -> None:
    _add(tmp_path, 1)
    loader.broken.add(1)
    with pytest.raises(ServingError) as caught:
        make_manager(max_num_load_retries=0).configure([ModelConfig(name="m", base_path=tmp_path)], _never)
    assert caught.value.code is Code.UNKNOWN
    assert caught.value.message == (
        "1 model(s) did not become available: {{{name: m version: 1} due to error: NOT_FOUND: version 1 is broken}, }"
    )


def test_policies_change_with_the_configuration(tmp_path: Path, make_manager: Callable[..., ModelManager]) -> None:
    _add(tmp_path, 1, 2, 3)
    manager = make_manager()
    model = ModelConfig(name="m", base_path=tmp_path, policy=VersionPolicy.ALL)
    manager.configure([model], _never)
    _await_states(manager, dict.fromkeys((3, 2, 1), State.AVAILABLE))
    specific = ModelConfig(name="m", base_path=tmp_path, policy=VersionPolicy.SPECIFIC, versions=frozenset({2, 9}))
    manager.configure([specific], _never)
    _await_states(manager, {3: State.END, 2: State.AVAILABLE, 1: State.END})
    manager.configure(None, _never)
    _await_states(manager, {3: State.END, 2: State.AVAILABLE, 1: State.END})
    manager.configure([], _never)
    _await_states(manager, {3: State.END, 2: State.END, 1: State.END})
    with pytest.raises(ServingError, match=r"Servable not found for request: Latest\(m\)"):
        manager._find(Spec("m"))


def test_labels_need_an_available_version(tmp_path: Path, make_manager: Callable[..., ModelManager]) -> None:
    _add(tmp_path, 1, 2)
    manager = make_manager()
    base = {"name": "m", "base_path": tmp_path, "policy": VersionPolicy.ALL}
    with pytest.raises(ServingError, match="assign label to version 1 of model m, which is not"):
        manager.configure([ModelConfig(**base, labels=(("a", 1),))], _never)
    manager.configure([ModelConfig(**base)], _never)
    _await_states(manager, dict.fromkeys((2, 1), State.AVAILABLE))
    manager.configure([ModelConfig(**base, labels=(("a", 1),))], _never)
    with manager.hold(Spec("m", label="a")) as servable:
        assert servable.version == 1
    manager.configure([ModelConfig(**base, labels=(("a", 2),))], _never)
    with manager.hold(Spec("m", label="a")) as servable:
        assert servable.version == 2
    with pytest.raises(ServingError, match="Unrecognized servable version label: b"):
        manager._find(Spec("m", label="b"))


def test_with_the_flag_only_new_labels_may_name_what_is_not_there(
    tmp_path: Path, make_manager: Callable[..., ModelManager]
) -> None:
    _add(tmp_path, 1)
    manager = make_manager(allow_unavailable_labels=True)
    manager.configure([ModelConfig(name="m", base_path=tmp_path, labels=(("a", 1), ("b", 5)))], _never)
    with pytest.raises(ServingError) as caught:
        manager._find(Spec("m", label="b"))
    assert caught.value.code is Code.NOT_FOUND
    with pytest.raises(ServingError) as caught:
        manager.configure([ModelConfig(name="m", base_path=tmp_path, labels=(("a", 5),))], _never)
    assert caught.value.code is Code.FAILED_PRECONDITION


def test_waiting_for_a_model_can_be_given_up(tmp_path: Path, make_manager: Callable[..., ModelManager]) -> None:
    manager = make_manager()
    with pytest.raises(ServingError) as caught:
        manager.configure([ModelConfig(name="m", base_path=tmp_path / "absent")], lambda: True)
    assert caught.value.code is Code.CANCELLED


def test_a_half_copied_version_is_tried_again_as_soon_as_it_is_whole(
    tmp_path: Path, loader: Loader, make_manager: Callable[..., ModelManager]
) -> None:
    _add(tmp_path, 1, 2)
    loader.broken.add(2)
    manager = make_manager(load_retry_interval=60)
    model = ModelConfig(name="m", base_path=tmp_path)
    started = threading.Thread(target=manager.configure, args=([model], _never))
    started.start()
    _wait_until(lambda: loader.failures == [2])
    loader.broken.clear()
    (tmp_path / "2" / "saved_model.pb").touch()
    _await_states(manager, {2: State.AVAILABLE})
    started.join(20)
    assert loader.attempts == [2, 2]
