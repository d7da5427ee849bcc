"""A whole distribution: Debian, made by debootstrap once and kept in OCIRT_TEST_CACHE."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bundles import PATH, Bundle
from tests.support.debian import root_with
from tests.support.runtime import Runtime, read_until
from tests.support.terminal import OnTerminal


@pytest.fixture(scope="module")
def debian_root() -> Path:
    return root_with("debian", "python3-minimal")


@pytest.fixture
def debian(bundle: Bundle, debian_root: Path) -> Bundle:
    """The cached root, read-only: what a test writes goes to a tmpfs."""
    bundle.config["root"] = {"path": str(debian_root), "readonly": True}
    bundle.mount("/tmp", "tmpfs", "tmpfs", "mode=1777")
    bundle.process["env"] = [PATH, "TERM=dumb", "LC_ALL=C.UTF-8"]
    bundle.capabilities("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_SETUID", "CAP_SETGID", "CAP_KILL")
    return bundle


def interrupt(shell: OnTerminal) -> None:
    """Ctrl-C until the prompt comes: bash names the job before it makes it the terminal's foreground."""
    for _ in range(10):
        shell.write(b"\x03")
        with contextlib.suppress(AssertionError):
            read_until(shell.master, b"ready> ", 1.0)
            return
    raise AssertionError("the job does not end")


def test_bash_on_a_terminal(runtime: Runtime, debian: Bundle) -> None:
    debian.process["terminal"] = True
    debian.args("bash", "--norc", "-i").save()
    shell = OnTerminal(runtime.arguments("run", "--bundle", str(debian.path), debian.id))
    shell.write(b"PS1='ready> '\n")
    read_until(shell.master, b"\nready> ")
    shell.write(b"tty; echo $((6 * 7)); cat /etc/debian_version\n")
    read_until(shell.master, b"\n42\r\n12")
    shell.write(b"bash -c 'echo sleeping; exec sleep 1000'\n")
    read_until(shell.master, b"\nsleeping\r\n")
    shell.write(b"\x1a")  # job control: stop it,
    read_until(shell.master, b"Stopped")
    shell.write(b"fg\n")  # go on with it,
    read_until(shell.master, b"exec sleep 1000'\r\n")
    interrupt(shell)  # and end it
    shell.write(b"exit 5\n")
    read_until(shell.master, b"exit")
    assert shell.finish() == 5


def test_apt_get(runtime: Runtime, debian: Bundle) -> None:
    result = runtime.run(debian.args("apt-get", "--version"))
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("apt 2.")


def test_python(runtime: Runtime, debian: Bundle) -> None:
    program = (
        "import os, signal, sys\n"
        "print(os.getpid(), sys.version_info[:2], signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL)\n"
        "pid = os.fork()\n"
        "if pid == 0: os._exit(3)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), sorted(os.listdir('/proc/self/fd')))\n"
    )
    result = runtime.run(debian.args("python3", "-I", "-c", program))
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == ["1 (3, 11) True", "3 ['0', '1', '2', '3']"]


def test_users_of_the_distribution(runtime: Runtime, debian: Bundle) -> None:
    debian.process["user"] = {"uid": 33, "gid": 33}
    out = runtime.inside(debian, "id -un; echo $HOME; touch /tmp/mine && stat -c %U:%G /tmp/mine")
    assert out.split() == ["www-data", "/var/www", "www-data:www-data"]


def test_exec_of_dynamic_programs(runtime: Runtime, debian: Bundle, new_bundle: Callable) -> None:
    runtime.launch(debian.args("sleep", "infinity"))
    assert runtime.ok("exec", debian.id, "dpkg", "--print-architecture").out.strip()
    assert runtime.ok("exec", debian.id, "bash", "-c", "echo ${BASH_VERSION%%.*}").out == "5\n"
    runtime.stop(debian)
