"""pause and resume: nothing moves in between, and only what is allowed happens."""

from __future__ import annotations

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import Runtime, poll

COUNTING = "i=0; while true; do i=$((i+1)); echo $i > /tmp/count; sleep 0.01; done"


def test_a_paused_container_stands_still(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.script(COUNTING))
    count = bundle.root / "tmp/count"
    poll(count.exists, "the container counts")
    runtime.ok("pause", bundle.id)
    assert runtime.status(bundle) == "paused"
    before = count.read_text()
    # Longer than the payload needs for a step: a frozen process cannot be waited for.
    runtime.ok("ps", bundle.id)
    assert count.read_text() == before
    runtime.ok("resume", bundle.id)
    assert runtime.status(bundle) == "running"
    poll(lambda: count.read_text() not in ("", before), "the container counts again")
    runtime.stop(bundle)


@pytest.mark.differs(crun="1.8 pauses what is paused")
def test_pause_twice(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.script("sleep 1000"))
    runtime.ok("pause", bundle.id)
    runtime.fails("pause", bundle.id, says="container not running")
    runtime.ok("resume", bundle.id)
    runtime.fails("resume", bundle.id, says="container not paused")
    runtime.stop(bundle)


def test_pause_and_resume_of_a_stopped_container(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.script("true"))
    runtime.wait(bundle)
    runtime.fails("pause", bundle.id, says="container not running")
    runtime.fails("resume", bundle.id, says="container not paused")
    runtime.ok("delete", bundle.id)


def test_unknown_container(runtime: Runtime, bundle: Bundle) -> None:
    for verb in ("pause", "resume"):
        runtime.fails(verb, bundle.id, says="container does not exist")


@pytest.mark.differs(crun="1.8 leaves the killed process frozen")
def test_a_paused_container_can_be_killed(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.script("sleep 1000"))
    runtime.ok("pause", bundle.id)
    runtime.ok("kill", bundle.id, "KILL")
    assert runtime.wait(bundle) == 128 + 9
    runtime.ok("delete", bundle.id)


def test_a_paused_container_can_be_deleted_by_force(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.script("sleep 1000"))
    runtime.ok("pause", bundle.id)
    runtime.ok("delete", "--force", bundle.id)
    runtime.fails("state", bundle.id, says="container does not exist")


def test_no_exec_in_a_paused_container(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.script("sleep 1000"))
    runtime.ok("pause", bundle.id)
    runtime.fails("exec", bundle.id, "true", code=255 if runtime.name != "crun" else 1, says="cannot exec in a paused")
    runtime.ok("resume", bundle.id)
    assert runtime.sh(bundle, "echo again") == "again\n"
    runtime.stop(bundle)


def test_a_container_can_be_paused_before_its_start(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle.script("echo started"))
    runtime.ok("pause", bundle.id)
    runtime.ok("resume", bundle.id)
    assert runtime.status(bundle) == "created"
    runtime.start(bundle)
    assert runtime.wait(bundle) == 0
    runtime.ok("delete", bundle.id)
