"""delete: from every status, and what it must and must not remove."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.bundles import Bundle
from tests.support.host import Place, alive
from tests.support.runtime import Runtime, poll


def test_stopped_leaves_nothing(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    with host_unchanged():
        runtime.launch(bundle.script("exit 0"))
        runtime.wait(bundle)
        runtime.ok("delete", bundle.id)


def test_created_is_killed(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    with host_unchanged():
        runtime.create(bundle)
        runtime.ok("delete", bundle.id)


def test_running_is_refused(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.script("sleep 1000"))
    before = runtime.state(bundle)
    runtime.fails("delete", bundle.id, says=f"cannot delete container {bundle.id} that is not stopped: running")
    assert runtime.state(bundle) == before
    runtime.stop(bundle)


@pytest.mark.parametrize("flag", ["--force", "-f"])
def test_running_by_force(runtime: Runtime, bundle: Bundle, flag: str, host_unchanged: Callable) -> None:
    with host_unchanged():
        runtime.launch(bundle.script("sleep 1000"))
        runtime.ok("delete", flag, bundle.id)
    runtime.fails("state", bundle.id, says="container does not exist")


def test_flag_after_the_id(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.script("sleep 1000"))
    if runtime.name == "runc":  # urfave/cli v1 took flags only before arguments
        runtime.ok("delete", "--force", bundle.id)
    else:
        runtime.ok("delete", bundle.id, "--force")


def test_paused_by_force(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.script("sleep 1000"))
    runtime.ok("pause", bundle.id)
    runtime.fails("delete", bundle.id, says="that is not stopped: paused")
    runtime.ok("delete", "--force", bundle.id)


def test_unknown(runtime: Runtime) -> None:
    runtime.fails("delete", "none", says="container does not exist")


def test_unknown_by_force(runtime: Runtime) -> None:
    runtime.ok("delete", "--force", "none")


@pytest.mark.differs(crun="argp's words and code")
def test_number_of_arguments(runtime: Runtime) -> None:
    runtime.fails("delete", says='"delete" requires exactly 1 argument(s)')


def test_processes_left_in_a_shared_pid_namespace(runtime: Runtime, bundle: Bundle) -> None:
    bundle.without_namespace("pid")
    result = runtime.launch(bundle.script("(exec sleep 1000 >/dev/null 2>&1) & echo $!; exit 0"))
    runtime.wait(bundle)
    orphan = int(result.out)
    assert alive(orphan)
    runtime.ok("delete", "--force", bundle.id)
    poll(lambda: not alive(orphan), "the end of the orphan")


def test_cgroup_made_by_another_stays_with_its_settings(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    """runtime.md, delete: resources not created by the container MUST NOT be deleted.  The parent here."""
    parent = place.cgroup("pids") / "made-before"
    parent.mkdir()
    bundle.linux["cgroupsPath"] = f"{place.path('pids')}/made-before/{bundle.id}"
    runtime.create(bundle)
    assert (parent / bundle.id).is_dir()
    runtime.ok("delete", bundle.id)
    assert parent.is_dir()
    assert not (parent / bundle.id).exists()
    place.remove_cgroups("made-before")


def test_nested_cgroups_made_by_the_payload_are_removed(
    runtime: Runtime, bundle: Bundle, place: Place, host_unchanged: Callable
) -> None:
    with host_unchanged():
        runtime.launch(bundle.script("sleep 1000"))
        (place.cgroup("pids") / bundle.id / "inner/most").mkdir(parents=True)
        runtime.ok("kill", bundle.id, "KILL")
        runtime.wait(bundle)
        runtime.ok("delete", bundle.id)


def test_state_directory_with_foreign_files_goes(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle)
    (runtime.root / bundle.id / "foreign").write_text("x")
    runtime.ok("delete", bundle.id)
    assert not (runtime.root / bundle.id).exists()
