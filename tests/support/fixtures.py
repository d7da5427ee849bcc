"""The fixtures of tests that run containers as root: a bundle, a runtime, and a host that must stay as it was.

A conftest.py imports them by name.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.bundles import Bundle, Roots
from tests.support.host import Place, settled_differences, token, unchanged
from tests.support.runtime import Runtime, poll
from tests.support.user import User, user_of_the_tests

_numbers = itertools.count()


@pytest.fixture(scope="package")
def place() -> Iterator[Place]:
    place = Place()
    yield place
    place.close()


@pytest.fixture(scope="package")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Roots:
    return Roots(tmp_path_factory.mktemp("roots"))


@pytest.fixture
def runtime(place: Place, tmp_path: Path) -> Runtime:
    directory = tmp_path / "runtime"
    directory.mkdir()
    return Runtime(directory)


@pytest.fixture(autouse=True)
def _host_is_as_before(place: Place, runtime: Runtime, new_bundle: object) -> Iterator[None]:
    before = place.snapshot(runtime.root)
    yield
    runtime.remove_all()
    found = settled_differences(before, lambda: place.snapshot(runtime.root))
    assert not found, "\n".join(found)


@pytest.fixture
def host_unchanged(place: Place, runtime: Runtime) -> Callable[[], object]:
    """A context manager: its body must leave no trace, with no help from the test's end."""
    return lambda: unchanged(place, runtime.root)


@pytest.fixture(scope="package")
def bundles_directory() -> Iterator[Path]:
    """Where the root of a user namespace may pass: pytest's own directories are 0700."""
    with tempfile.TemporaryDirectory(prefix=token()) as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.fixture
def new_bundle(bundles_directory: Path, roots: Roots) -> Iterator[Callable[[], Bundle]]:
    made: list[Bundle] = []

    def make() -> Bundle:
        made.append(Bundle(bundles_directory / f"{token()}-{next(_numbers)}", roots))
        return made[-1]

    yield make
    for bundle in made:
        bundle.remove()


@pytest.fixture(scope="module")
def user(place: Place) -> Iterator[User]:
    with user_of_the_tests() as user:
        yield user


@pytest.fixture
def bundle(new_bundle: Callable[[], Bundle]) -> Bundle:
    return new_bundle()


def accepts(file: Path, text: str) -> bool:
    try:
        file.write_text(text)
    except OSError:
        return False
    return True


@pytest.fixture
def realtime_budget(place: Place) -> Iterator[None]:
    """With real-time groups a cgroup of version 1 has no budget unless its parent gives some."""
    file = place.cgroup("cpu") / "cpu.rt_runtime_us"
    if not file.exists():
        pytest.skip("the kernel has no real-time groups")
    poll(lambda: accepts(file, "10000"), "a budget")
    yield
    poll(lambda: accepts(file, "0"), "the end of the container's group, which the kernel frees late")
