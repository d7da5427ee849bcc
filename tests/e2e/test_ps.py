"""ps: the container's processes and no others, by the host's numbers."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import Runtime, poll, wait_for


def pids(runtime: Runtime, bundle: Bundle) -> list[int]:
    return json.loads(runtime.ok("ps", "--format", "json", bundle.id).out)  # type: ignore[no-any-return]


def test_json_is_a_list_of_host_pids(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.script("sleep 1000 & sleep 1000 & wait"))
    found = poll(lambda: len(seen := pids(runtime, bundle)) == 3 and seen, "the shell has two children")
    assert found[0] == bundle.pid
    assert found == sorted(found)
    runtime.stop(bundle)


def test_processes_of_exec_belong_to_it(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.args("/bin/sleep", "1000"))
    assert pids(runtime, bundle) == [bundle.pid]
    runtime.ok("exec", "--detach", bundle.id, "sleep", "1000")
    first, second = pids(runtime, bundle)
    assert bundle.pid in (first, second)
    other = first + second - bundle.pid
    os.kill(other, signal.SIGKILL)
    assert wait_for(other) == 128 + signal.SIGKILL  # it is ours now: init could not end before it is reaped
    runtime.stop(bundle)


def test_table(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.args("/bin/sleep", "1000"))
    header, row = runtime.ok("ps", bundle.id).out.splitlines()
    if runtime.name != "crun":
        assert header.split()[:3] == ["UID", "PID", "PPID"]
        assert row.split()[1] == str(bundle.pid)
        assert row.endswith("sleep 1000")
    runtime.stop(bundle)


@pytest.mark.differs(crun="1.8 passes no options to ps")
def test_options_for_ps(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.args("/bin/sleep", "1000"))
    lines = runtime.ok("ps", bundle.id, "-e", "-o", "pid,comm").out.splitlines()
    assert [line.split() for line in lines] == [["PID", "COMMAND"], [str(bundle.pid), "sleep"]]
    runtime.fails("ps", bundle.id, "-e", "-o", "comm", says="couldn't find PID field in ps output")
    runtime.stop(bundle)


def test_unknown_format(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.script("sleep 1000"))
    runtime.fails("ps", "--format", "yaml", bundle.id, says="invalid format option")
    runtime.stop(bundle)


@pytest.mark.only_ocirt("the others print null or fail")
def test_stopped_container_has_none(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.script("true"))
    runtime.wait(bundle)
    assert pids(runtime, bundle) == []
    runtime.ok("delete", bundle.id)
