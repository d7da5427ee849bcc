"""create: what is refused before anything is read."""

from __future__ import annotations

import pytest

from ocirt import system
from ocirt.commands.create import check_cgroup_manager
from ocirt.errors import OcirtError
from ocirt.options import Globals


def wish(manager: str) -> Globals:
    g = Globals()
    g.cgroup_manager, g.systemd_cgroup = manager, manager == "systemd"
    return g


def test_cgroupfs_is_taken() -> None:
    check_cgroup_manager(wish("cgroupfs"))


@pytest.mark.parametrize(
    ("manager", "booted", "text"),
    [
        ("systemd", False, "systemd not running on this host, cannot use systemd cgroups manager"),
        ("systemd", True, "the cgroup manager systemd is not supported yet"),
        ("disabled", True, "the cgroup manager disabled is not supported yet"),
    ],
)
def test_another_manager_is_refused(monkeypatch: pytest.MonkeyPatch, manager: str, booted: bool, text: str) -> None:
    monkeypatch.setattr(system.path, "isdir", lambda name: booted and name == "/run/systemd/system")
    with pytest.raises(OcirtError) as caught:
        check_cgroup_manager(wish(manager))
    assert (caught.value.code, caught.value.what) == ("unsupported", text)
