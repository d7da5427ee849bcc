"""Running one hook: standard input, environment, timeout, failure, descriptors."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from ocirt.config.views import Hook
from ocirt.errors import OcirtError
from ocirt.hooks import HookCall, run_program

STATE = b'{"id": "web1"}'


def shell(script: str, **more: Any) -> HookCall:
    value = {"path": "/bin/sh", "args": ["sh", "-c", script], **more}
    return HookCall("createRuntime", 3, Hook(value, "/hooks/createRuntime/3"))


def test_the_state_is_on_standard_input_exactly_once(tmp_path: Path) -> None:
    run_program(shell(f"cat > {tmp_path}/out"), STATE)
    assert (tmp_path / "out").read_bytes() == STATE


def test_a_state_larger_than_a_pipe_arrives_whole(tmp_path: Path) -> None:
    state = b"x" * 300_000
    run_program(shell(f"cat > {tmp_path}/out"), state)
    assert (tmp_path / "out").read_bytes() == state


def test_a_hook_need_not_read_its_standard_input() -> None:
    run_program(shell("exec <&-; exit 0"), b"x" * 300_000)


def test_the_environment_is_the_hooks_own(tmp_path: Path) -> None:
    env = HookCall(
        "prestart", 0, Hook({"path": "/usr/bin/env", "env": ["A=b", "C=d=e", "=f", "g"]}, "/hooks/prestart/0")
    )
    assert env.env == {"A": "b", "C": "d=e"}
    run_program(shell(f"cat /proc/self/environ > {tmp_path}/out", env=["A=b"]), STATE)
    assert (tmp_path / "out").read_bytes().split(b"\0")[0] == b"A=b"
    assert b"PATH" not in (tmp_path / "out").read_bytes()


def test_args_default_to_the_path() -> None:
    assert HookCall("prestart", 0, Hook({"path": "/bin/true"}, "")).args == ("/bin/true",)


def test_signals_are_at_their_defaults(tmp_path: Path) -> None:
    run_program(shell(f"grep Sig /proc/self/status > {tmp_path}/out"), STATE)
    found = dict(line.split(":\t") for line in (tmp_path / "out").read_text().splitlines())
    real_time_of_libc = 0b11 << 31  # 32 and 33 belong to the C library; it cannot set them
    assert int(found["SigIgn"], 16) & ~real_time_of_libc == 0
    assert int(found["SigBlk"], 16) == 0


def test_no_descriptor_of_ours_leaks(tmp_path: Path) -> None:
    fds = [int(name) for name in os.listdir("/proc/self/fd")]
    foreign = {fd for fd in fds if fd > 2 and os.path.exists(f"/proc/self/fd/{fd}") and os.get_inheritable(fd)}
    run_program(shell(f"readlink /proc/$$/fd/* > {tmp_path}/out; ls /proc/$$/fd > {tmp_path}/fds"), STATE)
    links = (tmp_path / "out").read_text()
    assert "memfd:output" in links  # 1 and 2
    assert {int(fd) for fd in (tmp_path / "fds").read_text().split() if int(fd) < 10} - foreign == {0, 1, 2}


def test_a_failing_hook_is_named_with_its_output() -> None:
    with pytest.raises(OcirtError) as caught:
        run_program(shell("echo no luck >&2; exit 7"), STATE)
    error = caught.value
    assert (error.code, error.at) == ("hook", "/hooks/createRuntime/3")
    assert error.what == "error running createRuntime hook #3: exit status 7, output: no luck"


def test_a_killed_hook_is_a_failure() -> None:
    with pytest.raises(OcirtError) as caught:
        run_program(shell("kill -9 $$"), STATE)
    assert caught.value.what == "error running createRuntime hook #3: signal 9"


def test_the_timeout_kills(tmp_path: Path) -> None:
    with pytest.raises(OcirtError) as caught:
        run_program(shell(f"echo $$ > {tmp_path}/pid; exec sleep 1000", timeout=1), STATE)
    assert caught.value.what == "error running createRuntime hook #3: hook ran past specified timeout of 1.0s"
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_missing_hook_names_its_errno() -> None:
    with pytest.raises(OcirtError) as caught:
        run_program(HookCall("poststop", 0, Hook({"path": "/nowhere"}, "/hooks/poststop/0")), STATE)
    assert (caught.value.code, caught.value.errno, caught.value.call) == ("hook", 2, "execve")


def test_interrupted(tmp_path: Path) -> None:
    """The hook ends with the command that waits for it."""

    def interrupted(_signal: int, _frame: object) -> None:
        raise InterruptedError

    before = signal.signal(signal.SIGTERM, interrupted)
    try:
        with pytest.raises(InterruptedError):
            run_program(shell(f"echo $$ > {tmp_path}/pid; kill -TERM {os.getpid()}; exec sleep 1000"), STATE)
    finally:
        signal.signal(signal.SIGTERM, before)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
