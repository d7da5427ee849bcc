"""A start pays for every import: the hot commands load what allowed_imports.txt lists and nothing else.

Each command runs for real in an isolated interpreter, up to its end or, when it would clone, up to the first step.
"""

from __future__ import annotations

import _socket
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen
from tempfile import TemporaryFile

import pytest

from ocirt.commands import spec
from tests.support import records
from tests.support.launcher import PREPARE

ALLOWED = Path(__file__).with_name("allowed_imports.txt")
COLD = (
    "ocirt.remedies",
    "ocirt.diagnosis",
    "ocirt.process.cause",
    "ocirt.config.jsonfault",
    "ocirt.kernel.ffi_public",
)  # only when something is wrong

# The command ends by os._exit, or at the plan's first step; both tell what is loaded by then.
PROBE = f"""{PREPARE}
before = set(sys.modules)
from ocirt import system as os
leave = os._exit
def tell(*anything):
    os.write(1, ("\\0" + " ".join(sorted(set(sys.modules) - before))).encode())
    leave(0)
if sys.argv[1] == "clones":
    from ocirt.process import launch
    launch.run = tell
os._exit = tell
del sys.argv[1]
from ocirt.cli import main
main()
"""


def loaded(*words: str) -> tuple[set[str], dict[str, str]]:
    """The modules a command line loads, and for each what -X importtime says of it."""
    kind = "clones" if {"create", "run", "exec"} & set(words) else "ends"
    command = [sys.executable, "-IS", "-X", "importtime", "-c", PROBE, kind, *words]
    with TemporaryFile("w+") as out, TemporaryFile("w+") as err:  # a pipe would wait for whoever else still holds it
        subprocess.run(command, check=True, stdout=out, stderr=err, timeout=30)
        out.seek(0)
        err.seek(0)
        stdout, stderr = out.read(), err.read()
    assert "\0" in stdout, stderr.splitlines()[-1]
    costs = {}
    for line in stderr.splitlines():
        if line.startswith("import time:"):
            _, microseconds, module = line.removeprefix("import time:").split("|")
            costs[module.strip()] = f"{microseconds.strip()} us"
    return set(stdout.rpartition("\0")[2].split()), costs


def allowed(name: str) -> tuple[set[str], tuple[str, ...]]:
    """Exact names, and prefixes, from the list."""
    names: set[str] = set()
    for line in ALLOWED.read_text().splitlines():
        who, colon, what = line.partition("#")[0].partition(":")
        if colon and {"all", name} & set(who.split()):
            names |= set(what.split())
    return names, tuple(entry[:-1] for entry in names if entry.endswith(".*"))


def check(name: str, *words: str) -> None:
    modules, costs = loaded(*words)
    names, prefixes = allowed(name)
    extra = {module for module in modules - names if not module.startswith(prefixes)} | modules & set(COLD)
    assert not extra, ", ".join(f"{module} ({costs.get(module, '?')})" for module in sorted(extra))
    if name not in ("--version",):
        assert f"ocirt.commands.{name}" in modules


@pytest.fixture
def init() -> Iterator[Popen[bytes]]:
    process = records.sleeper()
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The example as a container engine would write it: no terminal, a filter, a sysctl, a score."""
    config = spec.example(None, on_v2=False)
    config["process"] |= {"terminal": False, "oomScoreAdj": 100}
    config["linux"]["sysctl"] = {"net.ipv4.ping_group_range": "0 0"}
    config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["read", "write", "exit_group"], "action": "SCMP_ACT_ALLOW"}],
    }
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_version() -> None:
    check("--version", "--version")


def test_state(tmp_path: Path, init: Popen[bytes]) -> None:
    records.make(tmp_path, "web1", init.pid)
    check("state", "--root", str(tmp_path), "state", "web1")


def test_kill(tmp_path: Path, init: Popen[bytes]) -> None:
    records.make(tmp_path, "web1", init.pid)
    check("kill", "--root", str(tmp_path), "kill", "web1", "KILL")
    assert init.wait(10) == -9


def test_delete(tmp_path: Path) -> None:
    records.make(tmp_path, "web1")
    check("delete", "--root", str(tmp_path), "delete", "web1")


def test_start(tmp_path: Path, init: Popen[bytes]) -> None:
    config = {"ociVersion": "1.3.0", "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["true"]}}
    container = records.make(tmp_path, "web1", init.pid, config)
    listening = _socket.socket(fileno=container.listen())

    def payload() -> None:
        """Take GO and close: that is how an init says that it executes its program."""
        fd, _ = listening._accept()
        conversation = _socket.socket(fileno=fd)
        conversation.recv(100)
        conversation.close()

    thread = threading.Thread(target=payload, daemon=True)
    thread.start()
    check("start", "--root", str(tmp_path), "start", "web1")
    thread.join(10)
    listening.close()


@pytest.mark.parametrize("words", [["create"], ["run", "--detach"], ["run"]])
def test_create_and_run(bundle: Path, words: list[str]) -> None:
    check(words[0], "--root", str(bundle / "containers"), *words, "--bundle", str(bundle), "web1")


def test_exec(bundle: Path, init: Popen[bytes]) -> None:
    config = json.loads((bundle / "config.json").read_text())
    records.make(bundle / "containers", "web1", init.pid, config)
    check("exec", "--root", str(bundle / "containers"), "exec", "web1", "true")


def test_an_offender_is_named_with_its_cost(tmp_path: Path) -> None:
    records.make(tmp_path, "web1")
    with pytest.raises(AssertionError, match=r"ocirt\.commands\.state \(\d+ us\)"):
        check("--version", "--root", str(tmp_path), "state", "web1")
