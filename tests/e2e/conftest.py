"""End-to-end tests: each has a bundle, a runtime, and must leave the host as it found it."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from tests.support.fixtures import (  # noqa: F401
    _host_is_as_before,
    bundle,
    bundles_directory,
    host_unchanged,
    new_bundle,
    place,
    realtime_budget,
    roots,
    runtime,
    user,
)
from tests.support.runtime import NAME


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    known = tomllib.loads((here / "crun.toml").read_text()) if NAME == "crun" else {}
    reasons = {test: reason for reason, tests in known.items() for test in tests}
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            for name in (item.path.name, f"{item.path.name}::{item.name}", f"{item.path.name}::{bare(item)}"):
                if name in reasons:
                    item.add_marker(pytest.mark.differs(crun=reasons[name]))
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="needs root"))


def bare(item: pytest.Item) -> str:
    """The test's name without its parameters."""
    return item.name.partition("[")[0]
