"""The five capability sets, exactly, for root and for others."""

from __future__ import annotations

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import Runtime

SETS = {
    "CapInh": "inheritable",
    "CapPrm": "permitted",
    "CapEff": "effective",
    "CapBnd": "bounding",
    "CapAmb": "ambient",
}
NUMBERS = {"CAP_CHOWN": 0, "CAP_KILL": 5, "CAP_NET_ADMIN": 12, "CAP_SYS_PTRACE": 19, "CAP_MKNOD": 27, "CAP_BPF": 39}


def mask(*names: str) -> int:
    return sum(1 << NUMBERS[name] for name in names)


def seen(runtime: Runtime, bundle: Bundle) -> dict[str, int]:
    out = runtime.inside(bundle, "grep ^Cap /proc/self/status")
    return {SETS[line.split(":")[0]]: int(line.split()[1], 16) for line in out.splitlines()}


ALL_FIVE = {
    "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_ADMIN", "CAP_MKNOD"],
    "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_ADMIN"],
    "effective": ["CAP_CHOWN", "CAP_KILL"],
    "inheritable": ["CAP_KILL", "CAP_NET_ADMIN"],
    "ambient": ["CAP_KILL"],
}


@pytest.mark.parametrize(
    ("uid", "no_new_privileges", "held"),
    [(1000, True, "ambient"), (1000, False, "ambient"), (0, True, "permitted"), (0, False, "bounding")],
)
def test_all_five_sets(runtime: Runtime, bundle: Bundle, uid: int, no_new_privileges: bool, held: str) -> None:
    """capabilities(7): over execve a user holds what is ambient; root all that is bounding, or had been permitted."""
    bundle.process.update(user={"uid": uid, "gid": uid}, noNewPrivileges=no_new_privileges, capabilities=ALL_FIVE)
    expected = {name: mask(*names) for name, names in ALL_FIVE.items()}
    expected["permitted"] = expected["effective"] = expected[held]
    assert seen(runtime, bundle) == expected


@pytest.mark.parametrize("uid", [0, 1000])
def test_none(runtime: Runtime, bundle: Bundle, uid: int) -> None:
    bundle.process["user"] = {"uid": uid, "gid": uid}
    bundle.capabilities()
    assert seen(runtime, bundle) == dict.fromkeys(SETS.values(), 0)


def test_a_new_one(runtime: Runtime, bundle: Bundle) -> None:
    bundle.capabilities("CAP_BPF", "CAP_CHOWN")
    expected = mask("CAP_BPF", "CAP_CHOWN")
    assert seen(runtime, bundle) == {
        "bounding": expected,
        "permitted": expected,
        "effective": expected,
        "inheritable": 0,
        "ambient": 0,
    }


@pytest.mark.differs(crun="refuses")
def test_what_cannot_be_granted_is_a_warning(runtime: Runtime, bundle: Bundle) -> None:
    """config.md: unknown capabilities SHOULD NOT fail."""
    bundle.capabilities("CAP_CHOWN", "CAP_NONESUCH")
    result = runtime.run(bundle.script("grep CapEff /proc/self/status"))
    assert result.code == 0, result
    assert int(result.out.split()[1], 16) == 1
    assert "CAP_NONESUCH" in result.err


def test_they_are_enforced(runtime: Runtime, bundle: Bundle) -> None:
    bundle.capabilities("CAP_CHOWN")
    assert runtime.inside(bundle, "chown 3 /tmp && mknod /x c 1 3 2>&1 || echo refused").endswith("refused\n")


def test_hostname_cannot_be_changed_without(runtime: Runtime, bundle: Bundle) -> None:
    bundle.capabilities()
    assert "refused" in runtime.inside(bundle, "hostname other 2>&1 || echo refused")
