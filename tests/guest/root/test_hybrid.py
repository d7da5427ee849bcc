"""Controllers that only cgroup v1 has, in hierarchies of their own beside v2: net_cls and net_prio.

systemd here uses none of v1: they are mounted for the runtime alone, in a mount namespace that ends with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import Runtime

HIERARCHIES = ("net_cls,net_prio", "devices", "freezer")
# A second mount of cgroup2 would clear nsdelegate and its like for the whole machine: the one that is there is bound.
MOUNTS = " && ".join(
    (
        "mount -t tmpfs cgroup /mnt",
        "mkdir /mnt/unified",
        "mount --bind /sys/fs/cgroup /mnt/unified",
        *(f"mkdir /mnt/{name}" for name in HIERARCHIES),
        *(f"mount -t cgroup -o {name} cgroup /mnt/{name}" for name in HIERARCHIES),
        "umount --recursive /sys/fs/cgroup",
        "mount --move /mnt /sys/fs/cgroup",
    )
)

pytestmark = pytest.mark.differs(crun="1.8 refuses a v2 hierarchy beside v1")


@pytest.fixture
def hybrid(runtime: Runtime) -> Runtime:
    return runtime.after(f'exec unshare --mount sh -c \'{MOUNTS} && exec "$@"\' sh {runtime.command} "$@"')


def test_network(hybrid: Runtime, bundle: Bundle) -> None:
    """Interfaces are those of the runtime's network namespace, and the kernel shows those of its first one."""
    bundle.resources(network={"classID": 0x100001, "priorities": [{"name": "lo", "priority": 5}]})
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro", "nosuid", "noexec", "nodev")
    out = hybrid.inside(bundle, "cd /sys/fs/cgroup; cat */net_cls.classid; grep '^lo ' */net_prio.ifpriomap")
    assert out.splitlines()[0] == str(0x100001)
    assert out.splitlines()[-1].endswith("lo 5")


@pytest.mark.only_ocirt("the words are ours")
def test_an_interface_that_is_not_there(hybrid: Runtime, bundle: Bundle, host_unchanged: Callable[[], Any]) -> None:
    bundle.resources(network={"priorities": [{"name": "lo", "priority": 5}, {"name": "nonesuch0", "priority": 5}]})
    bundle.save()
    with host_unchanged():
        result = hybrid.fails("create", "--bundle", str(bundle.path), bundle.id, says="[/linux/resources/network/")
    assert "[/linux/resources/network/priorities/1]" in result.last_line
