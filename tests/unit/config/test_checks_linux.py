"""What the files of tests/configs do not show; the rules themselves are tested there."""

from __future__ import annotations

import pytest

from ocirt.config import checks_linux
from ocirt.config.views import IdMapping


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ("net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ("kernel", "kernel"),
    ],
)
def test_sysctl_path(key: str, path: str) -> None:
    assert checks_linux.sysctl_path(key) == path


@pytest.mark.parametrize(
    ("second", "faults"),
    [
        ((10, 110, 5), []),
        ((9, 200, 1), ["/m/1"]),
        ((20, 109, 1), ["/m/1"]),
        ((0, 100, 10), ["/m/1", "/m/1"]),
        ((10, 110, 0), ["/m/1/size"]),
        ((10, 2**32 - 6, 5), []),
        ((10, 2**32 - 5, 5), ["/m/1"]),
    ],
)
def test_mapping_faults(second: tuple[int, int, int], faults: list[str]) -> None:
    lines = tuple(
        IdMapping({"containerID": container, "hostID": host, "size": size}, f"/m/{i}")
        for i, (container, host, size) in enumerate(((0, 100, 10), second))
    )
    assert [fault.at for fault in checks_linux.mapping_faults(lines, "/m")] == faults
