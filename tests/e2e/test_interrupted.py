"""Waits that a signal interrupts: every other one of them answers EINTR, and the commands do what they do."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import BOUND, Runtime, poll
from tests.support.scenarios import rich

pytestmark = pytest.mark.differs(runc="says: interrupted system call, and leaves a process that waits")
# Not read(2) and write(2), which the dynamic loader does not repeat either.
WAITS = "poll,ppoll,select,recvmsg,recvfrom,sendmsg,sendto,accept4,wait4,waitid,flock,clock_nanosleep"


def interrupted(runtime: Runtime, log: Path) -> Runtime:
    """The runtime, and what it makes, under strace(1), which answers for the kernel."""
    inject = f"inject={WAITS}:error=EINTR:when=1+2"
    return runtime.started_by(f'#!/bin/sh\nexec strace -f -qq -o {log} -e {inject} {runtime.command} "$@"\n')


def answers(log: Path) -> set[str]:
    """The calls that were interrupted; strace ends the line of one that waits when another process calls."""
    found = re.findall(r"(\w+)(?:\(| resumed>).* = -1 EINTR .*\(INJECTED\)", log.read_text(errors="replace"))
    log.unlink()
    return set(found)


def test_run(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    rich(bundle)
    result = interrupted(runtime, tmp_path / "log").run(bundle.args("/bin/true"))
    assert (result.code, result.err) == (0, "")
    assert runtime.name != "ocirt" or {"poll", "flock", "wait4"} <= answers(tmp_path / "log")


@pytest.mark.only_ocirt("init of the others waits in open(2), of a fifo")
def test_init_waits_for_start(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    bundle.args("/bin/true").save()
    log, command = tmp_path / "log", ("create", "--bundle", str(bundle.path), bundle.id)
    create = subprocess.Popen(interrupted(runtime, log).arguments(*command), stdin=subprocess.DEVNULL)
    poll(lambda: log.exists() and "accept4(" in log.read_text(errors="replace"), "init's wait")
    runtime.start(bundle)
    assert create.wait(BOUND) == 0  # with strace, which stays for init
    assert "accept4" in answers(log)
    runtime.ok("delete", bundle.id)


def test_the_others(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    rich(bundle)
    runtime.launch(bundle)
    weak = interrupted(runtime, tmp_path / "log")
    assert weak.call("exec", bundle.id, "/bin/sh", "-c", "exit 7").code == 7
    seen = {"exec": answers(tmp_path / "log")}
    for words in (("update", "--pids-limit", "20"), ("pause",), ("resume",), ("delete", "--force")):
        weak.ok(*words, bundle.id)
        seen[words[0]] = answers(tmp_path / "log")
    assert all(seen.values()), seen
