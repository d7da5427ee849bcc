"""Commands that are killed or fail at each of their steps and calls: the fixtures are those of the end-to-end tests."""

from __future__ import annotations

from tests.support.fixtures import (  # noqa: F401
    _host_is_as_before,
    bundle,
    bundles_directory,
    host_unchanged,
    new_bundle,
    place,
    roots,
    runtime,
)
