"""The steps that make a process, applied to a real one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from ocirt.box import Box
from ocirt.config.views import Process
from ocirt.errors import OcirtError
from ocirt.kernel import flags, live
from ocirt.pipeline import INIT, Stage, Step, run
from ocirt.stages.directory import verify, working_directory
from ocirt.stages.identity import identity
from ocirt.stages.limits import oom_score_adj, rlimits_when_asked
from ocirt.stages.payload import executable
from tests.support.namespaces import in_namespaces

pytestmark = pytest.mark.root

PLAIN = 0
KILL, BIND = 1 << 5, 1 << 10


def process(**members: Any) -> Process:
    return Process({"cwd": "/", "args": ["true"], **members}, "/process")


def applied(plan: Iterable[Step], pid: int = 0) -> Box:
    box = Box(live)
    box.proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
    box.pid = pid
    run((Stage("test", INIT, plan),), box)
    return box


def status() -> dict[str, str]:
    lines = Path("/proc/self/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def failure(function: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(OcirtError) as caught:
        function()
    return caught.value.what, caught.value.at


def test_a_user_with_two_capabilities_and_no_more() -> None:
    names = ["CAP_KILL", "CAP_NET_BIND_SERVICE"]
    kinds = ("bounding", "effective", "permitted", "inheritable", "ambient")
    wanted = process(
        user={"uid": 1234, "gid": 5678, "additionalGids": [7, 8]},
        capabilities=dict.fromkeys(kinds, names),
        env=["HOME=/"],
    )

    def child() -> dict[str, str]:
        applied(identity(wanted, False))
        return status()

    seen = in_namespaces(child, PLAIN)
    assert [seen[name].split() for name in ("Uid", "Gid", "Groups")] == [["1234"] * 4, ["5678"] * 4, ["7", "8"]]
    assert {int(seen[f"Cap{name}"], 16) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {KILL | BIND}


def test_root_without_capabilities_has_none() -> None:
    def child() -> dict[str, str]:
        applied(identity(process(env=["HOME=/"]), False))
        return status()

    seen = in_namespaces(child, PLAIN)
    assert {seen[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert seen["Groups"] == ""


def become_rootless() -> None:
    """As in a user namespace whose maps were written without privileges."""
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text("0 0 1")
    Path("/proc/self/gid_map").write_text("0 0 1")


def test_where_setgroups_is_denied_only_no_groups_are_possible() -> None:
    def child() -> tuple[str, str]:
        become_rootless()
        applied(identity(process(env=["HOME=/"]), True))
        return failure(lambda: applied(identity(process(user={"additionalGids": [0]}), True)))

    assert in_namespaces(child, flags.CLONE_NEWUSER) == (
        "cannot set any additional groups in a rootless container",
        "/process/user/additionalGids",
    )


def test_an_unmapped_user_is_named() -> None:
    def child() -> tuple[str, str]:
        become_rootless()
        return failure(lambda: applied(identity(process(user={"uid": 7}), True)))

    assert in_namespaces(child, flags.CLONE_NEWUSER) == (
        "cannot setuid to unmapped uid 7 in user namespace",
        "/process/user/uid",
    )


def test_a_working_directory_behind_a_link_of_procfs_is_refused() -> None:
    """CVE-2024-21626: /proc/self/fd/N may be a directory of the host."""

    def child() -> tuple[str, str]:
        fd = os.open("/usr", os.O_PATH | os.O_DIRECTORY)
        return failure(lambda: applied(working_directory(process(cwd=f"/proc/self/fd/{fd}"))))

    what, at = in_namespaces(child, PLAIN)
    assert what.endswith("set in config.json failed: too many levels of symbolic links")
    assert at == "/process/cwd"


def test_a_working_directory_outside_of_the_root_is_refused(tmp_path: Path) -> None:
    def child() -> str:
        os.chdir("/usr")
        os.chroot(tmp_path)
        return failure(lambda: verify(Box(live)))[0]

    what = in_namespaces(child)
    assert what.startswith("current working directory is outside of container mount namespace root")


def test_the_executable_is_looked_up_with_the_users_rights() -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        program = Path(directory, "program")
        program.touch()
        program.chmod(0o700)
        wanted = process(args=[str(program)], user={"uid": 1234}, env=["HOME=/"])

        def child() -> tuple[str, tuple[str, str]]:
            found = str(applied(executable(wanted)).facts["executable"])
            applied(identity(wanted, False))
            return found, failure(lambda: applied(executable(wanted)))

        assert in_namespaces(child, PLAIN) == (
            str(program),
            (f'exec: "{program}": permission denied', "/process/args/0"),
        )


def test_limits_of_another_process() -> None:
    wanted = process(rlimits=[{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}], oomScoreAdj=321)
    reading, writing = os.pipe()
    pid, _ = live.clone3(0)
    if pid == 0:
        os.read(reading, 1)
        os._exit(0)
    try:
        applied([*rlimits_when_asked(wanted, in_userns=True), *oom_score_adj(wanted)], pid)
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        assert next(line for line in limits if line.startswith("Max open files")).split()[3:5] == ["10", "20"]
        assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "321\n"
    finally:
        os.write(writing, b"x")
        os.waitpid(pid, 0)
        os.close(reading)
        os.close(writing)
