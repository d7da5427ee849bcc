"""--stage NAME: steps of another package's in a container's life, and their undo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import stages
from tests.support.bundles import Bundle
from tests.support.runtime import CHECKOUT, Runtime

pytestmark = pytest.mark.only_ocirt("an option of its own")


@pytest.fixture
def extended(runtime: Runtime, tmp_path: Path) -> Runtime:
    """This checkout, by an interpreter for which the package is installed."""
    stages.install(tmp_path / "packages")
    launcher = tmp_path / "extended"
    paths = [str(CHECKOUT), str(tmp_path / "packages")]
    launcher.write_text(
        f"#!/usr/bin/python3 -IS\nimport sys\nsys.path[:0] = {paths!r}\n"
        "from ocirt.launcher.protect import protect\nprotect()\nfrom ocirt.cli import main\nmain()\n"
    )
    launcher.chmod(0o755)
    runtime.command = str(launcher)
    return runtime


def test_steps_run_in_their_places(extended: Runtime, bundle: Bundle) -> None:
    flags = [word for name in ("on-the-host", "inside", "at-start") for word in ("--stage", name)]
    assert extended.inside(bundle, "cat /tmp/noted", *flags) == "True\nTrue\n"
    assert (bundle.path / "noted").read_text() == "False\n"


def test_plan_shows_them(extended: Runtime, bundle: Bundle) -> None:
    bundle.save()
    plan = extended.ok("plan", "--bundle", str(bundle.path), "--stage", "inside").out
    assert "init   inside     note it in /tmp/noted  [/annotations/org.example.note]\n" in plan
    assert "note it" not in extended.ok("plan", "--bundle", str(bundle.path)).out


def test_undone_when_create_fails(extended: Runtime, bundle: Bundle, host_unchanged: Callable[[], Any]) -> None:
    bundle.args("/nonesuch").save()
    extended.fails("create", "--bundle", str(bundle.path), "--stage", "on-the-host", bundle.id, says="/nonesuch")
    assert not (bundle.path / "noted").exists()


def test_a_stage_that_is_not_installed(extended: Runtime, bundle: Bundle, host_unchanged: Callable[[], Any]) -> None:
    bundle.save()
    says = 'no stage "nonesuch" is installed'
    extended.fails("run", "--bundle", str(bundle.path), "--stage", "nonesuch", bundle.id, says=says)


def test_a_stage_that_needs_a_c_module(
    runtime: Runtime, bundle: Bundle, tmp_path: Path, host_unchanged: Callable[[], Any]
) -> None:
    """As a distribution installs it.  What the native launcher cannot load it names; the portable one can."""
    stages.install(tmp_path / "packages")
    apart = runtime.after(
        f'[ -n "$APART" ] || {{ export APART=1; exec unshare -m --propagation private $0 "$@"; }}\n'
        f"mount --bind {tmp_path}/packages /usr/lib/python3/dist-packages"
    )
    bundle.save()
    words = ("plan", "--bundle", str(bundle.path), "--stage", "needs-c")
    if runtime.is_portable:
        assert "note it in" in apart.ok(*words).out
        return
    says = (
        'stage "needs-c": it cannot be loaded: ImportError: mmap is a C module, of which the native launcher loads none'
    )
    assert len(apart.fails(*words, says=says).err.splitlines()) == 1
