"""run --cap-audit: the capabilities that the container's processes ask for, and the kernel's answers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ocirt.kernel.perf import tracepoint
from tests.support.bundles import Bundle
from tests.support.runtime import Runtime
from tests.support.user import User, UserRuntime

pytestmark = pytest.mark.only_ocirt("an option of its own")


def kernel_tells() -> bool:
    try:
        return tracepoint("capability/cap_capable") > 0
    except OSError:
        return False


tells = pytest.mark.skipif(not kernel_tells(), reason="this kernel does not tell: cap_capable is of Linux 6.14")


def audited(runtime: Runtime, bundle: Bundle, path: Path, script: str) -> dict[str, dict[str, int]]:
    runtime.inside(bundle, script, "--cap-audit", str(path))
    found: dict[str, dict[str, int]] = json.loads(path.read_text())
    assert [entry.name for entry in path.parent.iterdir() if entry.name.startswith(f".{path.name}")] == []
    return found


@tells
def test_granted_and_denied(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """In children too; nothing of what init itself needed for the set-up."""
    bundle.capabilities("CAP_CHOWN")
    found = audited(runtime, bundle, tmp_path / "caps.json", "touch /tmp/x; (chown 1:1 /tmp/x); hostname x 2>&1; true")
    assert found["CAP_CHOWN"]["granted"] >= 1
    assert found["CAP_CHOWN"]["denied"] == 0
    assert found["CAP_SYS_ADMIN"]["granted"] == 0
    assert found["CAP_SYS_ADMIN"]["denied"] >= 1
    assert "CAP_SETUID" not in found
    assert "CAP_NET_ADMIN" not in found


@tells
def test_in_a_user_namespace(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    bundle.user_namespace()
    bundle.capabilities("CAP_CHOWN", "CAP_FOWNER")
    found = audited(runtime, bundle, tmp_path / "caps.json", "touch /tmp/x && chown 1:1 /tmp/x")
    assert found["CAP_CHOWN"]["granted"] >= 1


@tells
def test_nothing_is_left(runtime: Runtime, bundle: Bundle, tmp_path: Path, host_unchanged: Callable[[], Any]) -> None:
    bundle.args("/nonesuch").save()
    path = tmp_path / "caps.json"
    runtime.fails("run", "--bundle", str(bundle.path), "--cap-audit", str(path), bundle.id, says="/nonesuch")
    assert not path.exists()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--detach", "--cap-audit", "x"], "--cap-audit needs a run in the foreground"),
        (["--cap-audit", "/nonesuch/x"], "no such file or directory"),
    ],
)
def test_refused(
    runtime: Runtime, bundle: Bundle, host_unchanged: Callable[[], Any], flags: list[str], says: str
) -> None:
    bundle.save()
    runtime.fails("run", "--bundle", str(bundle.path), *flags, bundle.id, says=says)


def test_a_user_cannot(user: User, bundle: Bundle, host_unchanged: Callable[[], Any]) -> None:
    runtime = UserRuntime(user.home, user)
    user.bundle(bundle)
    bundle.save()
    path = user.home / "caps.json"
    result = runtime.fails("run", "--bundle", str(bundle.path), "--cap-audit", str(path), bundle.id)
    assert "this kernel does not tell of capabilities, or not this user" in result.last_line
    assert "[/process/capabilities]" in result.last_line
    assert not os.path.exists(path)
