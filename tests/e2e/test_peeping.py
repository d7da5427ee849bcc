"""A process that enters a container, seen by those inside before it executes the program (CVE-2016-9962; S03)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import CHECKOUT, Runtime, poll

SOURCE = CHECKOUT / "tests/support/peeper.c"
TIMES = int(os.environ.get("OCIRT_TEST_PEEPS", "25"))
CAPABILITIES = ("CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_KILL")
DUMPABLE = """
from ocirt.kernel import processes
processes.set_dumpable = lambda dumpable: None
"""


@pytest.fixture(scope="module")
def peeper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("peeper") / "peeper"
    subprocess.run(["gcc", "-static", "-O1", "-o", made, SOURCE], check=True, timeout=60)
    return made


def seen(runtime: Runtime, new_bundle: Callable[[], Bundle], peeper: Path, way: str) -> set[str]:
    """What a peeper with all rights of a user namespace sees while processes enter it."""
    owner, guest = new_bundle(), new_bundle()
    for bundle in (owner, guest):
        shutil.copy(peeper, bundle.root / "bin/peeper")
        bundle.user_namespace().capabilities(*CAPABILITIES)
    result = runtime.launch(owner.args("/bin/peeper"))
    poll(lambda: "looking" in result.out, "the peeper is there")
    for kind in ("user", "pid"):
        guest.namespace(kind, f"/proc/{owner.pid}/ns/{kind}")
    for _ in range(TIMES):
        if way == "exec":
            runtime.call("exec", owner.id, "/bin/true")
        else:
            runtime.run(guest.args("/bin/true"))
        if result.out.count("\n") > 1:
            break
    (owner.root / "tmp/stop").touch()
    poll(lambda: "done" in result.out, "the peeper has seen it")
    runtime.wait(owner)
    runtime.ok("delete", owner.id)
    return {line.partition(" ")[0] for line in result.out.splitlines()} - {"looking", "done"}


@pytest.mark.parametrize("way", ["exec", "create"])
def test_nothing_is_seen(runtime: Runtime, new_bundle: Callable[[], Bundle], peeper: Path, way: str) -> None:
    assert seen(runtime, new_bundle, peeper, way) == set()


@pytest.mark.only_ocirt("the control of the test above: what it looks for can be seen")
@pytest.mark.parametrize("way", ["exec", "create"])
def test_without_the_protection_it_is(
    runtime: Runtime, new_bundle: Callable[[], Bundle], peeper: Path, way: str
) -> None:
    assert "attached" in seen(runtime.weakened(DUMPABLE), new_bundle, peeper, way)
