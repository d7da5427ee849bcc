"""doctor: its two forms and its exit status."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from ocirt.commands import doctor
from ocirt.doctor import Finding
from ocirt.doctor import container as patient
from ocirt.doctor import host as machine
from ocirt.host import Host
from tests.support import records
from tests.support.runtime import poll


def mends(found: list[Finding]) -> dict[str, str]:
    return {one.subject: one.mend for one in found if not one.fine}


def test_a_host_without_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.os, "text_if_there", lambda path: "0" if "max_pid" in path else "")
    monkeypatch.setattr(machine.os, "number_if_there", lambda path: 0 if path.endswith("max_pid_namespaces") else None)
    monkeypatch.setattr(machine, "_capabilities", lambda: Finding("capabilities", True, ""))
    host = Host(kernel=(4, 19), euid=0, cgroup="v2", unified_mount="/sys/fs/cgroup")
    assert mends(machine.findings(host, "/")) == {
        "kernel": "boot Linux 5.6 or newer",
        "pid namespaces": "sysctl -w user.max_pid_namespaces=15000",
        "cgroups": "echo '+cpu +cpuset +memory +pids' > /sys/fs/cgroup/cgroup.subtree_control",
        "seccomp": "boot a kernel with CONFIG_SECCOMP_FILTER=y",
    }


def test_a_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    texts = {
        "/etc/subuid": "root:1:70000\n54321:100000:65536\nbroken",
        "/etc/subgid": "54321:100000:1000",
        "/sys/fs/cgroup/user.slice/cgroup.controllers": "memory pids",
        "/proc/key-users": "    0:    90 80/80 85/1000000 1/1\n54321:   196 196/196 196/200 1/1",
        "/proc/sys/kernel/keys/maxkeys": "200",
        "/proc/sys/user/max_user_namespaces": "0",
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1",
        "/proc/sys/kernel/seccomp/actions_avail": "errno",
    }
    monkeypatch.setattr(machine.os, "text_if_there", lambda path: texts.get(path, ""))
    host = Host(
        euid=54321,
        cgroup="v2",
        unified_mount="/sys/fs/cgroup",
        own_cgroups={"": "/user.slice"},
        mapping_tools={"newuidmap": "/usr/bin/newuidmap"},
    )
    assert mends(machine.findings(host, str(tmp_path))) == {
        "user namespaces": "sysctl -w user.max_user_namespaces=15000",
        "user namespaces of users": "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        "cgroups": "printf '[Service]\\nDelegate=yes\\n' | sudo systemctl edit --stdin user@.service"
        "   # then log in again",
        "keyrings": "sysctl -w kernel.keys.maxkeys=2000",
        "subgids": "sudo usermod --add-subgids 100000-165535 54321",
        "newgidmap": "sudo apt install uidmap",
    }


def test_a_stopped_process(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    init = records.sleeper()
    try:
        container = records.make(tmp_path, "web1", pid=init.pid)
        assert records.run(doctor, tmp_path, "web1") == 0
        assert f"{init.pid}  init  S  " in capfd.readouterr().out
        os.kill(init.pid, signal.SIGSTOP)
        poll(lambda: patient.Process(init.pid, "init", "x86_64").state == "T", "the stop")
        with container.lock():
            assert records.run(doctor, tmp_path, "--format", "json", "web1") == 1
    finally:
        init.kill()
        init.wait()
    found = json.loads(capfd.readouterr().out)
    assert found["status"] == "running"
    assert [(one["pid"], one["role"], one["state"]) for one in found["processes"]][:2] == [
        (init.pid, "init", "T"),
        (os.getpid(), "holds the lock", "R"),
    ]
    wrong = {one["subject"]: one["mend"] for one in found["findings"] if not one["fine"]}
    assert wrong["processes"] == f"kill -CONT {init.pid}"
    assert wrong["lock"].endswith(f"ocirt --root {tmp_path} delete --force web1")


@pytest.mark.parametrize(
    ("pid", "mend"), [(0, "ocirt --root {root} gc"), (os.getpid(), "ocirt --root {root} delete web1")]
)
def test_a_container_without_init(tmp_path: Path, capfd: pytest.CaptureFixture[str], pid: int, mend: str) -> None:
    container = records.make(tmp_path, "web1")
    container.record |= {"pid": pid, "start_time": 1}  # no process of ours began so early
    container.save()
    assert records.run(doctor, tmp_path, "web1") == 1
    assert f"-> {mend.format(root=tmp_path)}\n" in capfd.readouterr().out


def test_names_of_system_calls() -> None:
    assert patient.syscall_name("0", "x86_64") == "read"
    assert patient.syscall_name("9999", "x86_64") == "9999"
    assert patient.syscall_name("running", "x86_64") == "running"
    assert patient.syscall_name("0", "pdp11") == "0"


def test_colours_are_for_the_verdict_alone() -> None:
    found = [Finding("a", True, "fine"), Finding("longer", False, "not\x1b[0m so", "mend it")]
    assert doctor._text(found, {}, False) == (
        "ok     a       fine\nWRONG  longer  not\\x1b[0m so\n               -> mend it\n"
    )
    assert doctor._text(found, {}, True) == (
        "\x1b[32mok   \x1b[0m  a       fine\n"
        "\x1b[1;31mWRONG\x1b[0m  longer  not\\x1b[0m so\n"
        "               -> mend it\n"
    )
