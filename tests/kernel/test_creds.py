"""ocirt.kernel.creds against the real kernel."""

from __future__ import annotations

import errno
import os
import platform
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from ocirt.errors import KernelError
from ocirt.kernel import flags, live
from ocirt.kernel.capabilities import CAPABILITIES
from tests.support.namespaces import in_namespaces

pytestmark = pytest.mark.root

PLAIN = 0
CHOWN, KILL, SETPCAP = 1 << 0, 1 << 5, 1 << 8


def refusal(function: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(KernelError) as caught:
        function()
    return caught.value.call, errno.errorcode[caught.value.errno or 0]


def proc_sets() -> dict[str, int]:
    lines = Path("/proc/self/status").read_text().splitlines()
    return {line[3:6]: int(line.split()[1], 16) for line in lines if line.startswith("Cap")}


def test_the_table_ends_where_the_kernels_does() -> None:
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert last >= len(CAPABILITIES) - 1 or platform.release() < "5.9"


def test_capget_is_what_proc_says() -> None:
    sets = proc_sets()
    assert live.capget() == (sets["Eff"], sets["Prm"], sets["Inh"])
    assert live.read_bounding() == sets["Bnd"]


def test_every_set_of_every_capability() -> None:
    """All 41 in both halves of the 64 bits."""

    def child() -> bool:
        _, permitted, _ = live.capget()
        live.capset(permitted, permitted, permitted)
        for capability in range(len(CAPABILITIES)):
            if permitted >> capability & 1:
                live.raise_ambient(capability)
        sets = proc_sets()
        return sets["Eff"] == sets["Prm"] == sets["Inh"] == sets["Amb"] == permitted

    assert in_namespaces(child, PLAIN) is True


def test_capset_takes_away_and_does_not_give() -> None:
    def child() -> tuple[dict[str, int], tuple[str, str], tuple[str, str]]:
        live.capset(KILL, KILL | CHOWN, 0)
        sets = proc_sets()
        return sets, refusal(lambda: live.capset(SETPCAP, SETPCAP, 0)), refusal(lambda: live.drop_bounding(0))

    sets, capset, drop = in_namespaces(child, PLAIN)
    assert (sets["Eff"], sets["Prm"], sets["Inh"]) == (KILL, KILL | CHOWN, 0)
    assert (capset, drop) == (("capset", "EPERM"), ("prctl", "EPERM"))


def test_the_bounding_set_shrinks() -> None:
    def child() -> tuple[int, int]:
        before = live.read_bounding()
        live.drop_bounding(0)
        return before & ~live.read_bounding(), proc_sets()["Bnd"] & CHOWN

    assert in_namespaces(child, PLAIN) == (CHOWN, 0)
    assert refusal(lambda: live.drop_bounding(63)) == ("prctl", "EINVAL")


def test_ambient_needs_permitted_and_inheritable() -> None:
    def child() -> tuple[tuple[str, str], int, int]:
        refused = refusal(lambda: live.raise_ambient(5))
        effective, permitted, _ = live.capget()
        live.capset(effective, permitted, KILL)
        live.raise_ambient(5)
        raised = proc_sets()["Amb"]
        live.clear_ambient()
        return refused, raised, proc_sets()["Amb"]

    assert in_namespaces(child, PLAIN) == (("prctl", "EPERM"), KILL, 0)


@pytest.mark.parametrize("keep", [False, True])
def test_keepcaps_decides_over_the_change_of_user(keep: bool) -> None:
    def child() -> bool:
        before = live.capget()[1]
        live.set_keepcaps(keep)
        live.setresuid(12345, 12345, 12345)
        return live.capget()[1] == (before if keep else 0)

    assert in_namespaces(child, PLAIN) is True


def test_ids_and_groups() -> None:
    def child() -> tuple[object, ...]:
        live.setgroups((5, 2**32 - 2))
        live.setresgid(1, 2, 3)
        live.setresuid(4, 5, 6)
        return sorted(os.getgroups()), os.getresgid(), os.getresuid()

    assert in_namespaces(child, PLAIN) == ([5, 2**32 - 2], (1, 2, 3), (4, 5, 6))


def test_no_groups() -> None:
    def child() -> list[int]:
        live.setgroups(())
        return os.getgroups()

    assert in_namespaces(child, PLAIN) == []


@pytest.mark.parametrize("wrong", [-1, 2**32 - 1, 2**32])
def test_ids_the_kernel_would_take_for_others_are_refused(wrong: int) -> None:
    assert refusal(lambda: live.setresuid(wrong, wrong, wrong)) == ("setresuid", "EINVAL")
    assert refusal(lambda: live.setresgid(wrong, wrong, wrong)) == ("setresgid", "EINVAL")
    assert refusal(lambda: live.setgroups((wrong,))) == ("setgroups", "EINVAL")


def test_an_unmapped_user_is_invalid() -> None:
    def child() -> tuple[str, str]:
        Path("/proc/self/uid_map").write_text("0 0 1")
        return refusal(lambda: live.setresuid(7, 7, 7))

    assert in_namespaces(child, flags.CLONE_NEWUSER) == ("setresuid", "EINVAL")


def test_a_session_keyring_is_made_and_joined_again() -> None:
    def child() -> tuple[bool, list[str], int]:
        serial = live.join_session_keyring("_ocirt.test")
        permissions = int(live.keyctl_describe(serial).split(";")[3], 16)
        live.keyctl_setperm(serial, permissions | 0x80000)
        kind, _, _, changed, name = live.keyctl_describe(serial).split(";")
        same = live.join_session_keyring("_ocirt.test") == serial
        pid, _ = live.clone3(0)
        if pid == 0:  # as exec does, from another session
            live.join_session_keyring("_ocirt.other")
            os._exit(0 if live.join_session_keyring("_ocirt.test") == serial else 1)
        return same, [kind, f"{int(changed, 16) & 0x80000:x}", name], os.waitpid(pid, 0)[1]

    assert in_namespaces(child, PLAIN) == (True, ["keyring", "80000", "_ocirt.test"], 0)
    assert refusal(lambda: live.keyctl_describe(2**31 - 1)) == ("keyctl", "ENOKEY")
    assert refusal(lambda: live.keyctl_setperm(2**31 - 1, 0)) == ("keyctl", "ENOKEY")


def test_personality_changes_uname() -> None:
    def child() -> tuple[int, int]:
        before = live.personality(8)  # PER_LINUX32
        return before, live.personality(0xFFFFFFFF)

    assert in_namespaces(child, PLAIN) == (0, 8)


def test_host_and_domain_name() -> None:
    def child() -> tuple[str, str]:
        live.sethostname("web")
        live.setdomainname("example")
        return socket.gethostname(), Path("/proc/sys/kernel/domainname").read_text().strip()

    assert in_namespaces(child, flags.CLONE_NEWUTS) == ("web", "example")


def test_a_name_that_is_too_long() -> None:
    def child() -> list[tuple[str, str]]:
        return [refusal(lambda: live.sethostname("x" * 65)), refusal(lambda: live.setdomainname("x" * 65))]

    assert in_namespaces(child, flags.CLONE_NEWUTS) == [("sethostname", "EINVAL"), ("setdomainname", "EINVAL")]
