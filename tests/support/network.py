"""A network namespace for a test to be the host's: devices made in it, and what ip(8) says of them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ocirt.kernel import live
from ocirt.kernel.flags import CLONE_NEWNET
from tests.support.runtime import poll

MAC = "02:11:22:33:44:55"


@contextmanager
def own_network() -> Iterator[None]:
    """This thread, and what it starts, in a new network namespace."""
    before = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    live.unshare(CLONE_NEWNET)
    try:
        ip("link", "set", "lo", "up")
        yield
    finally:
        live.setns(before, CLONE_NEWNET)
        os.close(before)


def ip(*words: str, pid: int = 0) -> str:
    """What ip(8) prints; pid: of a process in whose network namespace it is asked."""
    there = ["nsenter", f"--net=/proc/{pid}/ns/net"] if pid else []
    done = subprocess.run([*there, "ip", *words], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def make_veth(name: str, peer: str, *, addresses: bool = True) -> None:
    """A pair of devices, both up; the first with a MTU, a MAC and, when wanted, addresses of every kind and a route."""
    ip("link", "add", name, "type", "veth", "peer", "name", peer)
    ip("link", "set", name, "mtu", "1400")
    if addresses:
        ip("link", "set", name, "address", MAC)
        for words in (
            "10.9.0.1/24",
            f"10.9.0.2/24 label {name}:x",
            "10.9.5.1 peer 10.9.5.2/32",
            "169.254.7.1/16 scope link",
            "10.8.0.1/24 valid_lft 3600 preferred_lft 1800",
        ):
            ip("address", "add", *words.split(), "dev", name)
        ip("address", "add", "fd77::1/64", "dev", name, "nodad")
        ip("address", "add", "fd77::2/64", "dev", name, "nodad", "noprefixroute")
    for device in (name, peer):
        ip("link", "set", device, "up")
    if addresses:
        ip("route", "add", "10.44.0.0/16", "via", "10.9.0.7")
        ip("-6", "route", "add", "fd99::/64", "via", "fd77::7")
    wanted = ("fd77::1", "fd77::2") if addresses else ()
    poll(lambda: settled((name, peer), wanted), "the kernel's own routes for the devices")


def settled(names: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    """Whether the kernel has done what "up" does not wait for: the carrier, and the routes that wait for that."""
    states = {one["operstate"] for one in json.loads(ip("-json", "link")) if one["ifname"] in names}
    routes = "".join(ip(family, "route", "show", "table", "all") for family in ("-4", "-6"))
    return states == {"UP"} and "linkdown" not in routes and all(f"local {one} dev" in routes for one in wanted)


def addresses(name: str, pid: int = 0) -> list[str]:
    """Every address of a device but what the kernel made by itself, in the kernel's order: 'inet 10.0.0.1/8 global'."""
    (device,) = json.loads(ip("-json", "address", "show", "dev", name, pid=pid))
    found = []
    for one in device["addr_info"]:
        if one["family"] == "inet6" and one["scope"] == "link":
            continue
        words = [one["family"], f"{one['local']}/{one['prefixlen']}", one["scope"]]
        words += [f"{key}={one[key]}" for key in ("address", "label") if key in one]
        words += [key for key in ("secondary", "noprefixroute", "dynamic") if one.get(key)]
        found.append(" ".join(words))
    return found


def device(name: str, pid: int = 0) -> dict[str, Any]:
    """Number, MTU, MAC, whether it is up, and what it belongs to."""
    (found,) = json.loads(ip("-json", "link", "show", "dev", name, pid=pid))
    kept = {key: found.get(key) for key in ("ifname", "ifindex", "mtu", "address", "master")}
    return {**kept, "up": "UP" in found["flags"]}


def picture() -> dict[str, Any]:
    """Everything of this namespace that moving a device may change."""
    names = sorted(one["ifname"] for one in json.loads(ip("-json", "link")))
    routes = [ip("-4", "route", "show", "table", "all"), ip("-6", "route", "show", "table", "all")]
    return {
        "devices": [device(name) for name in names],
        "addresses": {name: sorted(addresses(name)) for name in names},
        # those of the kernel's own link-local addresses come and go with the detection of duplicates
        "routes": sorted(line.strip() for text in routes for line in text.splitlines() if "fe80:" not in line),
    }
