"""Commands at the same moment, on one container or in one cgroup: one wins, the others say why, nothing is left."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.host import Place
from tests.support.runtime import Runtime, poll

PAUSE = ("/bin/probe", "pause")
MANY = 6


def together(runtime: Runtime, commands: Iterable[tuple[str, ...]], tmp_path: Path) -> list[tuple[int, str]]:
    """(code, last line of stderr) of commands that begin at once."""
    started = []
    for number, words in enumerate(commands):
        with (tmp_path / f"err-{number}").open("wb") as err:
            arguments = runtime.arguments(*words)
            started.append(subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err))
    ended = []
    for number, process in enumerate(started):
        code = process.wait(30)
        text = (tmp_path / f"err-{number}").read_text()
        assert "Traceback" not in text
        ended.append((code, text.strip().rpartition("\n")[2]))
    return ended


def lost(results: list[tuple[int, str]]) -> list[str]:
    """What the losers said; there is one winner."""
    assert [code for code, _ in results].count(0) == 1, results
    return [line for code, line in results if code]


@pytest.mark.differs(runc="1.1 joins it", crun="joins it")
def test_one_cgroup_for_many(runtime: Runtime, new_bundle: Callable[[], Bundle], place: Place, tmp_path: Path) -> None:
    bundles = [new_bundle().args(*PAUSE) for _ in range(MANY)]
    for bundle in bundles:
        bundle.linux["cgroupsPath"] = bundles[0].id
        bundle.save()
    commands = [("create", "--bundle", str(bundle.path), bundle.id) for bundle in bundles]
    results = together(runtime, commands, tmp_path)
    for line in lost(results):
        assert "container's cgroup is in use" in line or "container's cgroup is not empty: 1 process" in line
    (winner,) = [bundle for bundle, (code, _) in zip(bundles, results, strict=True) if code == 0]
    assert runtime.status(winner) == "created"
    winner.pid = runtime.pid(winner)
    for controllers, path in place.cgroups.items():
        assert (path / bundles[0].id / "cgroup.procs").read_text().split() == [str(winner.pid)], controllers
    runtime.stop(winner)
    assert not any((path / bundles[0].id).exists() for path in place.cgroups.values())


@pytest.mark.differs(runc="takes the other's processes for its own", crun="takes the other's processes for its own")
@pytest.mark.parametrize("own_pids", [True, False])
def test_a_cgroup_that_another_container_was_given_since(
    runtime: Runtime, new_bundle: Callable[[], Bundle], place: Place, own_pids: bool
) -> None:
    """The one that has ended must not touch the processes of the one that runs there now, who removes what it left."""
    ended, running = new_bundle().args("/bin/true"), new_bundle().args(*PAUSE)
    running.linux["cgroupsPath"] = ended.linux["cgroupsPath"] = ended.id
    if not own_pids:
        ended.linux["namespaces"] = [one for one in ended.linux["namespaces"] if one["type"] != "pid"]
    runtime.launch(ended)
    runtime.wait(ended)
    runtime.launch(running)
    assert runtime.ok("ps", "--format", "json", ended.id).out == "[]\n"
    runtime.fails("kill", ended.id, "KILL", says="container not running")
    runtime.ok("delete", ended.id)
    refused = new_bundle().args(*PAUSE)
    refused.linux["cgroupsPath"] = ended.id
    refused.save()
    runtime.fails("create", "--bundle", str(refused.path), refused.id, says="container's cgroup is not empty")
    assert runtime.status(running) == "running"
    for path in place.cgroups.values():
        assert (path / ended.id / "cgroup.procs").read_text().split() == [str(running.pid)]
    runtime.stop(running)
    assert [path for path in place.cgroups.values() if (path / ended.id).exists()] == []


@pytest.mark.only_ocirt("the lock is ocirt's")
@pytest.mark.parametrize("seconds", [0.2, 5])
def test_delete_while_another_has_the_lock_of_the_cgroup(
    runtime: Runtime, bundle: Bundle, place: Place, seconds: float
) -> None:
    """Another delete has it for a moment: waited for.  A create may have it for long: the rest is left to that."""
    runtime.launch(bundle.args("/bin/true"))
    runtime.wait(bundle)
    cgroup = place.cgroup("freezer") / bundle.id
    with (cgroup / "cgroup.procs").open("w") as procs:
        fcntl.flock(procs, fcntl.LOCK_EX)
        timer = threading.Timer(seconds, lambda: fcntl.flock(procs, fcntl.LOCK_UN))
        timer.start()
        runtime.ok("delete", bundle.id)
        timer.cancel()
    assert cgroup.exists() is (seconds > 1)
    if cgroup.exists():
        runtime.launch(bundle)
        runtime.wait(bundle)
        runtime.ok("delete", bundle.id)
        assert [path for path in place.cgroups.values() if (path / bundle.id).exists()] == []


@pytest.mark.differs(runc="1.1 now and then lets two have it")
def test_one_id_for_many(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    bundle.args(*PAUSE).save()
    words = ("create", "--bundle", str(bundle.path), bundle.id)
    said = lost(together(runtime, [words] * MANY, tmp_path))
    if runtime.name == "ocirt":
        assert all("container with given ID already exists" in line for line in said)
    assert runtime.status(bundle) == "created"
    said = lost(together(runtime, [("start", bundle.id)] * MANY, tmp_path))
    if runtime.name == "ocirt":
        assert all("cannot start an already running container" in line for line in said)
    assert runtime.status(bundle) == "running"
    bundle.pid = runtime.pid(bundle)
    runtime.ok("kill", bundle.id, "KILL")
    runtime.wait(bundle)
    said = lost(together(runtime, [("delete", bundle.id)] * MANY, tmp_path))
    if runtime.name == "ocirt":
        assert all("container does not exist" in line for line in said)


@pytest.mark.differs(runc="1.1 fails at what the other has removed", crun="likewise")
def test_many_forced_deletes(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    runtime.launch(bundle.args(*PAUSE))
    results = together(runtime, [("delete", "--force", bundle.id)] * MANY, tmp_path)
    assert [code for code, _ in results] == [0] * MANY, results
    runtime.wait(bundle)


def test_delete_ends_an_exec(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    runtime.launch(bundle.args(*PAUSE))
    words = runtime.arguments("exec", bundle.id, "/bin/sh", "-c", "echo up; exec sleep 1000")
    with (tmp_path / "out").open("wb") as out:
        executing = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out)
    poll(lambda: (tmp_path / "out").read_text() == "up\n", "the process of exec")
    runtime.ok("delete", "--force", bundle.id)
    assert executing.wait(10) == 128 + signal.SIGKILL
    runtime.wait(bundle)


@pytest.mark.differs(crun="code 1")
@pytest.mark.parametrize("own_pids", [True, False])
def test_delete_while_an_exec_is_on_its_way(runtime: Runtime, bundle: Bundle, tmp_path: Path, own_pids: bool) -> None:
    """At whatever moment: exec says how its process ended or that there is no container, and no process is left."""
    bundle.args(*PAUSE)
    if not own_pids:
        bundle.linux["namespaces"] = [one for one in bundle.linux["namespaces"] if one["type"] != "pid"]
    seen = set()
    for step in range(12):
        runtime.launch(bundle)
        words = runtime.arguments("exec", bundle.id, "/bin/sleep", "1000")
        with (tmp_path / "err").open("wb") as err:
            executing = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=err)
        time.sleep(step * 0.006)  # the moments differ; none is waited for
        runtime.ok("delete", "--force", bundle.id)
        code = executing.wait(10)
        text = (tmp_path / "err").read_text()
        assert code in (128 + signal.SIGKILL, 255), (code, text)
        assert ("Traceback" in text, "a fault in ocirt" in text) == (False, False), text
        assert bool(text) == (code == 255), text
        seen.add(code)
        runtime.wait(bundle)
    assert 255 in seen


@pytest.mark.only_ocirt("the words are ours")
def test_commands_on_a_container_that_is_being_created(runtime: Runtime, bundle: Bundle) -> None:
    """create is held in a hook meanwhile."""
    os.mkfifo(bundle.path / "hold")
    hook = f"echo in > {bundle.path}/began; read line < {bundle.path}/hold"
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", hook]}]}
    bundle.args(*PAUSE).save()
    creating = subprocess.Popen(
        runtime.arguments("create", "--bundle", str(bundle.path), bundle.id), stdin=subprocess.DEVNULL
    )
    poll((bundle.path / "began").exists, "the hook")
    assert runtime.status(bundle) == "creating"
    runtime.fails("kill", bundle.id, "KILL", says="container not running")
    runtime.fails("exec", bundle.id, "true", code=255, says="cannot exec in a container that is being created")
    runtime.fails("update", bundle.id, "--pids-limit", "7", says="another command has held the lock")
    assert creating.poll() is None
    (bundle.path / "hold").write_text("go\n")
    assert creating.wait(10) == 0
    assert runtime.status(bundle) == "created"
    bundle.pid = runtime.pid(bundle)
    runtime.stop(bundle)
