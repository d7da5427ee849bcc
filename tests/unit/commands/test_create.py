"""create: what is refused before anything is read."""

from __future__ import annotations

import pytest

from ocirt.commands.create import check_cgroup_manager
from ocirt.errors import OcirtError
from ocirt.options import Globals


def wish(manager: str) -> Globals:
    g = Globals()
    g.cgroup_manager, g.systemd_cgroup = manager, manager == "systemd"
    return g


@pytest.mark.parametrize("manager", ["cgroupfs", "systemd"])
def test_these_are_taken(manager: str) -> None:
    check_cgroup_manager(wish(manager))


def test_another_manager_is_refused() -> None:
    with pytest.raises(OcirtError) as caught:
        check_cgroup_manager(wish("disabled"))
    assert (caught.value.code, caught.value.what) == (
        "unsupported",
        "the cgroup manager disabled is not supported yet",
    )
