"""kill: names, numbers, statuses."""

from __future__ import annotations

import signal

import pytest

from tests.support.bundles import Bundle
from tests.support.host import alive
from tests.support.runtime import Result, Runtime, poll

TRAPPING = (
    'for s in HUP INT QUIT USR1 USR2 TERM CONT WINCH; do trap "echo $s; exit 0" $s; done; '
    "echo ready; while :; do sleep 0.02; done"
)


def trapping(runtime: Runtime, bundle: Bundle) -> Result:
    result = runtime.launch(bundle.script(TRAPPING))
    poll(lambda: result.out == "ready\n", "the payload's traps")
    return result


@pytest.mark.parametrize(
    ("argument", "name"),
    [
        ((), "TERM"),
        (("TERM",), "TERM"),
        (("SIGTERM",), "TERM"),
        (("term",), "TERM"),
        (("SigUsr1",), "USR1"),
        (("USR2",), "USR2"),
        ((str(int(signal.SIGHUP)),), "HUP"),
        ((str(int(signal.SIGWINCH)),), "WINCH"),
    ],
)
@pytest.mark.differs(crun="takes names in upper case only")
def test_signal_arrives(runtime: Runtime, bundle: Bundle, argument: tuple[str, ...], name: str) -> None:
    result = trapping(runtime, bundle)
    runtime.ok("kill", bundle.id, *argument)
    assert runtime.wait(bundle) == 0
    assert result.out == f"ready\n{name}\n"
    runtime.ok("delete", bundle.id)


def test_kill_signal(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.script("sleep 1000"))
    runtime.ok("kill", bundle.id, "9")
    assert runtime.wait(bundle) == 128 + signal.SIGKILL
    assert runtime.status(bundle) == "stopped"
    runtime.ok("delete", bundle.id)


def test_realtime_signal_by_number(runtime: Runtime, bundle: Bundle) -> None:
    bundle.without_namespace("pid")
    runtime.launch(bundle.script("exec sleep 1000"))
    runtime.ok("kill", bundle.id, "40")
    assert runtime.wait(bundle) == 128 + 40
    runtime.ok("delete", bundle.id)


@pytest.mark.parametrize("bad", ["FOO", "SIGFOO", "1x", "TERM "])
def test_unknown_signal(runtime: Runtime, bundle: Bundle, bad: str) -> None:
    runtime.launch(bundle.script("sleep 1000"))
    runtime.fails("kill", bundle.id, bad, says=f'unknown signal "{bad}"')
    assert runtime.status(bundle) == "running"
    runtime.stop(bundle)


def test_stopped(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.script("exit 0"))
    runtime.wait(bundle)
    before = runtime.state(bundle)
    runtime.fails("kill", bundle.id, "TERM", says="container not running")
    assert runtime.state(bundle) == before
    runtime.ok("delete", bundle.id)


def test_all_on_stopped_is_no_error(runtime: Runtime, bundle: Bundle) -> None:
    """containerd sends it after the fact."""
    runtime.launch(bundle.script("exit 0"))
    runtime.wait(bundle)
    runtime.ok("kill", "--all", bundle.id, "KILL")
    runtime.ok("delete", bundle.id)


@pytest.mark.parametrize("flag", ["--all", "-a"])
def test_all_reaches_every_process_of_a_shared_pid_namespace(runtime: Runtime, bundle: Bundle, flag: str) -> None:
    bundle.without_namespace("pid")
    result = runtime.launch(bundle.script("sleep 1000 & echo $!; wait"))
    child = int(poll(lambda: result.out, "the payload's output"))
    runtime.ok("kill", flag, bundle.id, "KILL")
    assert runtime.wait(bundle) == 137
    poll(lambda: not alive(child), "the end of the payload's child")
    runtime.ok("delete", bundle.id)


def test_paused(runtime: Runtime, bundle: Bundle) -> None:
    runtime.launch(bundle.script("sleep 1000"))
    runtime.ok("pause", bundle.id)
    runtime.ok("kill", bundle.id, "KILL")
    if runtime.status(bundle) == "paused":
        runtime.ok("resume", bundle.id)
    assert runtime.wait(bundle) == 137
    runtime.ok("delete", bundle.id)


def test_unknown(runtime: Runtime) -> None:
    runtime.fails("kill", "none", "TERM", says="container does not exist")


@pytest.mark.differs(crun="argp's words and code")
def test_number_of_arguments(runtime: Runtime) -> None:
    runtime.fails("kill", says='"kill" requires a minimum of 1 argument(s)')
    runtime.fails("kill", "a", "b", "c", says='"kill" requires a maximum of 2 argument(s)')
