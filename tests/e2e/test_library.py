"""ocirt as a library: a container's life by `from ocirt import Container`, and what it leaves alone in its caller."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ocirt import Bundle, Container, OcirtError
from tests.support import stages
from tests.support.bundles import Bundle as Prepared
from tests.support.runtime import CHECKOUT, poll, wait_for

pytestmark = pytest.mark.only_ocirt("its own library")

AFTER = """
import json, sys
before = set(sys.modules)
import ocirt
alone = sorted(set(sys.modules) - before)
import os, signal, threading
path, cwd, handlers = list(sys.path), os.getcwd(), [signal.getsignal(n) for n in range(1, 65)]
bundle = ocirt.Bundle.open(sys.argv[1])
bundle.check()
steps = bundle.plan()
loaded = sorted(name for name in set(sys.modules) - before if name.startswith("ocirt.commands"))
print(json.dumps([alone, loaded, sys.path == path, os.getcwd() == cwd,
    [signal.getsignal(n) for n in range(1, 65)] == handlers, threading.active_count(), len(steps) > 10]))
"""


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "state")


def test_a_containers_life(bundle: Prepared, root: str, tmp_path: Path) -> None:
    """From a program with threads."""
    bundle.script("cat; echo $0 $1; exec /bin/probe pause").save()
    stop = threading.Event()
    threads = [threading.Thread(target=stop.wait, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    (tmp_path / "in").write_text("from the caller\n")
    with (tmp_path / "in").open() as given, (tmp_path / "out").open("w") as out:
        container = Container.create(
            Bundle.open(bundle.path), bundle.id, root=root, stdin=given, stdout=out, timeout=60
        )
    stop.set()
    assert (container.status, container.state()["bundle"]) == ("created", str(bundle.path))
    pid = container.pid
    container.start()
    assert container.status == "running"
    poll(lambda: (tmp_path / "out").read_text().startswith("from the caller\n"), "its output")
    done = container.exec(
        ["/bin/sh", "-c", "echo $GREETING $PWD $(id -u); cat; exit 7"],
        env={"GREETING": "hello"},
        cwd="/tmp",
        user="1000:1000",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert (done.returncode, done.stdout) == (7, b"hello /tmp 1000\n")
    container.kill("KILL")
    wait_for(pid)
    assert container.status == "stopped"
    container.delete()
    with pytest.raises(OcirtError) as caught:
        container.state()
    assert caught.value.code == "not-found"
    container.delete(force=True)


def test_errors_are_records(bundle: Prepared, root: str, host_unchanged: Callable[[], Any]) -> None:
    """As the command's last line has it, in parts."""
    bundle.mount("/mnt", "ext9", "none")
    bundle.save()
    with pytest.raises(OcirtError) as caught:
        Container.create(bundle.path, bundle.id, root=root)
    error = caught.value
    at = f"/mounts/{len(bundle.mounts) - 1}"
    assert (error.code, error.stage, error.at, error.errno) == ("step-failed", "mounts", at, errno.ENODEV)
    assert error.what == 'error mounting "none" to rootfs at "/mnt": no such device'
    assert error.step == "mount ext9 on /mnt"


def test_exec_that_fails_is_no_program_with_its_status(bundle: Prepared, root: str) -> None:
    container = Container.create(bundle.args("/bin/probe", "pause").save().path, bundle.id, root=root)
    container.start()
    pid = container.pid
    with pytest.raises(OcirtError) as caught:
        container.exec(["/nonesuch"])
    assert caught.value.code == "executable"
    assert container.exec(["/bin/sh", "-c", "exit 255"]).returncode == 255
    with pytest.raises(OcirtError) as caught:
        container.exec(["/bin/sleep", "100"], timeout=1)
    assert caught.value.code == "timeout"
    container.kill(9)
    wait_for(pid)
    container.delete()


def test_create_that_takes_too_long_leaves_nothing(
    bundle: Prepared, root: str, host_unchanged: Callable[[], Any]
) -> None:
    bundle.hook("createRuntime", "/bin/sleep", "100").save()
    with pytest.raises(OcirtError) as caught:
        Container.create(bundle.path, bundle.id, root=root, timeout=2)
    assert caught.value.code == "timeout"
    with pytest.raises(OcirtError, match="container does not exist"):
        Container(bundle.id, root=root).kill()


def test_pipe_is_refused(bundle: Prepared, root: str) -> None:
    with pytest.raises(ValueError, match="PIPE"):
        Container.create(bundle.path, bundle.id, root=root, stdout=subprocess.PIPE)


def test_plan_and_check(bundle: Prepared) -> None:
    bundle.config["hostname"] = "web"
    opened = Bundle.open(bundle.save().path)
    assert opened.config["hostname"] == "web"
    steps = opened.plan("web1")
    assert [step.pointer for step in steps if step.stage == "finish" and "web" in step.text] == ["/hostname"]
    assert steps[-1].text == "execute the program"
    del bundle.process["cwd"]
    bundle.save()
    broken = Bundle.open(bundle.path)
    found = [(one.level, one.code, one.at) for one in broken.check()]
    assert ("error", "schema", "/process") in found
    with pytest.raises(OcirtError) as caught:
        broken.plan()
    assert (caught.value.code, caught.value.at) == ("schema", "/process")


def test_stages_of_others(bundle: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages.install(tmp_path / "packages")
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    opened = Bundle.open(bundle.save().path)
    assert "note it in /tmp/noted" in [step.text for step in opened.plan(stages=["inside"])]
    sys.modules.pop("otherstages", None)


def test_what_it_leaves_alone_in_its_caller(bundle: Prepared) -> None:
    """`import ocirt` loads one module; the command line is never loaded, and nothing of the process is changed."""
    bundle.save()
    command = [sys.executable, "-c", AFTER, str(bundle.path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, cwd=CHECKOUT)
    assert json.loads(done.stdout) == [["ocirt"], [], True, True, True, 1, True]
    assert done.stderr == ""


def test_the_containers_executable_is_protected(bundle: Prepared, root: str) -> None:
    """init, as long as it waits, is a sealed copy of the interpreter, not the caller's own (CVE-2019-5736)."""
    container = Container.create(bundle.save().path, bundle.id, root=root)
    pid = container.pid
    assert os.readlink(f"/proc/{pid}/exe").startswith("/memfd:ocirt")
    container.delete(force=True)
    wait_for(pid)
