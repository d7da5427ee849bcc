"""A new network namespace that is made while the runtime does other things (process/birth.py), as strace(1) sees it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from ocirt.launcher.native import entry
from tests.support.bundles import Bundle
from tests.support.runtime import Runtime, poll

pytestmark = pytest.mark.only_ocirt("how the namespace comes about is ocirt's own")
INSIDE = "read flags < /sys/class/net/lo/flags; echo /sys/class/net/* $flags"  # without a fork
ALONE_AND_UP = "/sys/class/net/lo 0x9"
UNSHARE = r"^(\d+) +unshare\(CLONE_NEWNET\b"  # strace may say later how it ended
CALLS = "clone,clone3,unshare,ioctl,setns,wait4"


@pytest.fixture
def native(runtime: Runtime) -> Runtime:
    if runtime.is_portable or not entry():
        pytest.skip("this launcher leaves the namespace to init's clone")
    return runtime


def traced(runtime: Runtime, log: Path, *faults: str) -> Runtime:
    inject = " ".join(f"-e inject={fault}" for fault in faults)
    return runtime.started_by(f'#!/bin/sh\nexec strace -f -o {log} -e trace={CALLS} {inject} {runtime.command} "$@"\n')


def births(log: Path) -> list[str]:
    return [line for line in log.read_text().splitlines() if " clone3(" in line]


def test_another_process_makes_it(native: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    log = tmp_path / "strace"
    network, *seen = traced(native, log).inside(bundle, f"readlink /proc/self/ns/net; {INSIDE}").splitlines()
    assert network != os.readlink("/proc/self/ns/net")
    assert seen == [ALONE_AND_UP]

    (birth,) = births(log)
    assert "CLONE_NEWNS" in birth
    assert "CLONE_NEWNET" not in birth
    (maker,) = re.findall(UNSHARE, log.read_text(), re.MULTILINE)
    runtime = birth.split()[0]
    assert maker != runtime
    assert re.search(rf"^{runtime} .*wait4.*= {maker}$", log.read_text(), re.MULTILINE)
    (entered,) = re.findall(r"^(\d+) +setns\(\d+, CLONE_NEWNET", log.read_text(), re.MULTILINE)
    assert entered not in (maker, runtime)


@pytest.mark.parametrize(
    "inject", ["clone:error=EAGAIN", "unshare:error=EPERM", "unshare:error=ENOSPC", "unshare:signal=KILL"]
)
def test_init_makes_it_where_the_other_cannot(native: Runtime, bundle: Bundle, tmp_path: Path, inject: str) -> None:
    log = tmp_path / "strace"
    assert traced(native, log, inject).inside(bundle, INSIDE).splitlines() == [ALONE_AND_UP]
    (birth,) = births(log)
    assert "CLONE_NEWNET" in birth
    assert "(INJECTED)" in log.read_text() or "killed by SIGKILL" in log.read_text()


def test_a_run_that_fails_ends_it(native: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """It would need two seconds more."""
    log = tmp_path / "strace"
    failed = traced(native, log, "unshare:delay_enter=2000000").run(bundle.namespace("ipc", f"{tmp_path}/missing"))
    assert failed.code == 1
    assert f"{tmp_path}/missing" in failed.err
    (maker,) = re.findall(r"^\d+ +clone\(.*CLONE_VM.*= (\d+)$", log.read_text(), re.MULTILINE)
    assert re.search(rf"^{maker} +\+\+\+ killed by SIGKILL", log.read_text(), re.MULTILINE)
    assert re.search(rf"wait4.*= {maker}$", log.read_text(), re.MULTILINE)
    assert not births(log)


def test_a_run_that_is_killed_takes_it_along(native: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    log = tmp_path / "strace"
    command = traced(native, log, "unshare:delay_enter=2000000").arguments(
        "run", "--bundle", str(bundle.save().path), bundle.id
    )
    with subprocess.Popen(command) as run:
        maker = poll(lambda: log.exists() and re.search(UNSHARE, log.read_text(), re.MULTILINE), "the other process")[1]
        (killed,) = re.findall(rf"^(\d+) +clone\(.*= {maker}$", log.read_text(), re.MULTILINE)
        os.kill(int(killed), signal.SIGKILL)
    assert run.returncode == -signal.SIGKILL
    assert re.search(rf"^{maker} +\+\+\+ killed by SIGKILL", log.read_text(), re.MULTILINE)
    assert native.call("delete", "--force", bundle.id).code == 0
    assert native.call("state", bundle.id).code == 1


def test_init_makes_what_it_may_not_enter(native: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    log = tmp_path / "strace"
    network, *seen = (
        traced(native, log, "setns:error=EPERM").inside(bundle, f"readlink /proc/self/ns/net; {INSIDE}").splitlines()
    )
    assert network != os.readlink("/proc/self/ns/net")
    assert seen == [ALONE_AND_UP]
    (refused,) = re.findall(r"^(\d+) +setns\(\d+, CLONE_NEWNET\) += -1 EPERM", log.read_text(), re.MULTILINE)
    assert refused in re.findall(UNSHARE, log.read_text(), re.MULTILINE)


def test_a_user_namespace_owns_it(native: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    log = tmp_path / "strace"
    bundle.user_namespace()
    assert traced(native, log).inside(bundle, INSIDE).splitlines() == [ALONE_AND_UP]
    (birth,) = births(log)
    assert "CLONE_NEWUSER" in birth
    assert "CLONE_NEWNET" in birth
    assert not re.findall(UNSHARE, log.read_text(), re.MULTILINE)


def test_a_run_does_not_hold_it(native: Runtime, bundle: Bundle) -> None:
    """It would outlive the container's processes."""
    bundle.script("echo up; read line").save()
    command = native.arguments("run", "--bundle", str(bundle.path), bundle.id)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stdin is not None
        assert run.stdout.readline() == b"up\n"
        descriptors = Path(f"/proc/{run.pid}/fd")
        held = [os.readlink(entry) for entry in descriptors.iterdir()]
        run.stdin.close()
    assert run.returncode == 1, "read has met the end"
    assert held
    assert [name for name in held if name.startswith("net:")] == []
