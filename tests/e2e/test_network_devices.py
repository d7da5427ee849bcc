"""linux.netDevices: devices of the host that move into the container's network namespace.

The tests' own network namespace is the host's.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.network import MAC, addresses, device, ip, make_veth, own_network, picture
from tests.support.runtime import Runtime, poll
from tests.support.user import User, UserRuntime

pytestmark = pytest.mark.only_ocirt(
    "not in runc 1.1 and crun 1.8; runc 1.5 passes what it does: no IPv6 addresses, peers, labels and %d, no way back"
)

PAUSE = ("/bin/probe", "pause")
# As make_veth() gives them, less the one of the link's scope and the one that ends; the name is the container's.
KEPT = [
    "inet 10.9.0.1/24 global label={name}",
    "inet 10.9.5.1/32 global address=10.9.5.2 label={name}",
    "inet 10.9.0.2/24 global label={name}:x secondary",
    "inet6 fd77::2/64 global noprefixroute",
    "inet6 fd77::1/64 global",
]


def kept(name: str) -> list[str]:
    return [text.format(name=name) for text in KEPT]


@pytest.fixture(autouse=True)
def _network() -> Iterator[None]:
    with own_network():
        yield


@pytest.fixture
def one(bundle: Bundle) -> Bundle:
    """A bundle that gets the device a0, with all that a device has."""
    make_veth("a0", "b0")
    bundle.linux["netDevices"] = {"a0": {}}
    return bundle


@pytest.fixture
def keeper() -> Iterator[int]:
    """A process that keeps a network namespace; its pid."""
    with subprocess.Popen(["unshare", "--net", "sh", "-c", "echo ready; exec sleep 1000"], stdout=-1) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
        process.kill()


def joined(bundle: Bundle, pid: int) -> Bundle:
    return bundle.namespace("network", f"/proc/{pid}/ns/net")


def names(pid: int = 0) -> set[str]:
    return {one["ifname"] for one in json.loads(ip("-json", "link", pid=pid))}


# -- what the container gets ---------------------------------------------------------------------


def test_a_device_with_its_attributes_and_addresses(runtime: Runtime, one: Bundle) -> None:
    runtime.create(one.args(*PAUSE))
    assert names() == {"lo", "b0"}
    inside = device("a0", one.pid)
    assert (inside["mtu"], inside["address"], inside["up"]) == (1400, MAC, True)
    assert addresses("a0", one.pid) == kept("a0")
    runtime.stop(one)
    poll(lambda: names() == {"lo"}, "a virtual device ends with its namespace")


def test_it_works(runtime: Runtime, one: Bundle) -> None:
    """The other end of the pair is the host's."""
    ip("address", "add", "10.9.0.9/24", "dev", "b0")
    assert "1 packets received" in runtime.inside(one.capabilities("CAP_NET_RAW"), "ping -c 1 -W 5 10.9.0.9")


@pytest.mark.parametrize(("wanted", "name"), [("net0", "net0"), ("eth%d", "eth0"), ("x", "x")])
def test_another_name(runtime: Runtime, one: Bundle, wanted: str, name: str) -> None:
    one.linux["netDevices"] = {"a0": {"name": wanted}}
    runtime.create(one.args(*PAUSE))
    assert names(one.pid) == {"lo", name}
    assert device(name, one.pid)["up"]
    assert addresses(name, one.pid) == kept(name)
    runtime.stop(one)


def test_a_label_that_becomes_too_long_is_left_out(runtime: Runtime, one: Bundle) -> None:
    one.linux["netDevices"] = {"a0": {"name": "fifteen-letters"}}
    runtime.create(one.args(*PAUSE))
    # the device's own name is the label of what has no other
    assert addresses("fifteen-letters", one.pid) == [
        text.removesuffix(":x secondary") + " secondary" * (":x" in text) for text in kept("fifteen-letters")
    ]
    runtime.stop(one)


def test_several_devices(runtime: Runtime, one: Bundle) -> None:
    make_veth("a1", "b1", addresses=False)
    make_veth("a2", "b2", addresses=False)
    ip("link", "set", "a2", "down")
    one.linux["netDevices"] = {"a0": {"name": "a1"}, "a1": {"name": "a0"}, "a2": {"name": "eth%d"}}
    runtime.create(one.args(*PAUSE))
    assert names(one.pid) == {"lo", "a0", "a1", "eth0"}
    assert [device(name, one.pid)["up"] for name in ("a0", "a1", "eth0")] == [True] * 3
    assert (addresses("a1", one.pid), addresses("a0", one.pid)) == (kept("a1"), [])
    runtime.stop(one)


def test_a_joined_namespace_keeps_the_device(runtime: Runtime, one: Bundle, keeper: int) -> None:
    one.linux["netDevices"] = {"a0": {"name": "eth0"}}
    runtime.launch(joined(one, keeper).args(*PAUSE))
    runtime.stop(one)
    assert names(keeper) == {"lo", "eth0"}
    assert device("eth0", keeper)["up"]
    assert addresses("eth0", keeper) == kept("eth0")
    assert names() == {"lo", "b0"}


def test_what_the_container_did_with_it_stays(runtime: Runtime, one: Bundle, keeper: int) -> None:
    """Once it is inside it is the namespace's."""
    joined(one, keeper).capabilities("CAP_NET_ADMIN")
    runtime.inside(one, "ip address flush dev a0; ip address add 10.1.1.1/8 dev a0; ip link set a0 down")
    assert addresses("a0", keeper) == ["inet 10.1.1.1/8 global label=a0"]
    assert not device("a0", keeper)["up"]


def test_a_number_that_is_taken(runtime: Runtime, one: Bundle, keeper: int) -> None:
    number = str(device("a0")["ifindex"])
    ip("link", "add", "other", "index", number, "type", "veth", "peer", "name", "peer", pid=keeper)
    ip("link", "add", "bridge0", "type", "bridge", pid=keeper)
    runtime.create(joined(one, keeper).args(*PAUSE))
    assert device("other", keeper)["ifindex"] == int(number)
    assert addresses("a0", keeper) == kept("a0")
    runtime.stop(one)


def test_a_pattern_passes_what_is_there(runtime: Runtime, one: Bundle, keeper: int) -> None:
    ip("link", "add", "eth0", "type", "bridge", pid=keeper)
    one.linux["netDevices"] = {"a0": {"name": "eth%d"}}
    runtime.create(joined(one, keeper).args(*PAUSE))
    assert names(keeper) == {"lo", "eth0", "eth1"}
    assert addresses("eth1", keeper) == kept("eth1")
    runtime.stop(one)


def test_a_user_namespace(runtime: Runtime, one: Bundle) -> None:
    runtime.create(one.user_namespace().args(*PAUSE))
    assert addresses("a0", one.pid) == kept("a0")
    runtime.stop(one)


def test_a_namespace_that_the_joiner_enters(runtime: Runtime, one: Bundle, keeper: int) -> None:
    one.linux["timeOffsets"] = {"monotonic": {"secs": 100}}
    one.linux["namespaces"].append({"type": "time"})
    runtime.create(joined(one, keeper).args(*PAUSE))
    assert addresses("a0", keeper) == kept("a0")
    runtime.stop(one)


def test_hooks_find_the_device_inside(runtime: Runtime, one: Bundle, tmp_path: Path) -> None:
    script = tmp_path / "hook"
    script.write_text(
        "#!/bin/sh\npid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/')\n"
        f"nsenter --net=/proc/$pid/ns/net ip -o link > {tmp_path}/seen\n"
    )
    script.chmod(0o755)
    runtime.create(one.hook("prestart", script).args(*PAUSE))
    runtime.stop(one)
    assert ": a0@" in (tmp_path / "seen").read_text()


def test_who_stays_in_the_foreground_keeps_no_namespace(runtime: Runtime, one: Bundle) -> None:
    """Else the device would outlive the container for as long as the runtime does."""
    one.args("/bin/sleep", "1000").save()
    command = runtime.arguments("run", "--bundle", str(one.path), one.id)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        poll(lambda: runtime.call("state", one.id).code == 0 and runtime.status(one) == "running", "running")
        held = [os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{process.pid}/fd")]
        runtime.ok("kill", one.id, "KILL")
        process.wait(10)
    assert not [target for target in held if target.startswith(("net:", "socket:"))]


# -- a create that fails gives the device back ---------------------------------------------------


def refused(runtime: Runtime, bundle: Bundle, unchanged: Callable, says: str, *flags: str) -> str:
    """create must fail and leave all devices as they were; the error's line."""
    bundle.save()
    before = picture()
    with unchanged():
        line = runtime.fails("create", *flags, "--bundle", str(bundle.path), bundle.id, says=says).last_line
    poll(lambda: picture() == before, f"{picture()} is not {before}")
    return line


def test_a_hook_that_fails(runtime: Runtime, one: Bundle, host_unchanged: Callable) -> None:
    refused(runtime, one.hook("createRuntime", "/bin/false").args(*PAUSE), host_unchanged, "createRuntime")


def test_renamed_down_and_in_a_bridge(runtime: Runtime, one: Bundle, host_unchanged: Callable) -> None:
    ip("link", "add", "bridge0", "type", "bridge")
    make_veth("a1", "b1", addresses=False)
    ip("link", "set", "a1", "master", "bridge0")
    ip("link", "set", "a1", "down")
    assert device("a1")["master"] == "bridge0"
    one.linux["netDevices"] = {"a1": {"name": "eth%d"}, "a0": {"name": "eth%d"}}
    refused(runtime, one.hook("createContainer", "/bin/false").args(*PAUSE), host_unchanged, "createContainer")


def test_an_init_that_is_killed(runtime: Runtime, one: Bundle, tmp_path: Path, host_unchanged: Callable) -> None:
    """Its namespace must not end with it: a virtual device would, too."""
    script = tmp_path / "hook"
    script.write_text("#!/bin/sh\nkill -9 $(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/')\nsleep 0.1\n")
    script.chmod(0o755)
    refused(runtime, one.hook("createRuntime", script).args(*PAUSE), host_unchanged, "container init")


def test_a_pid_file_that_cannot_be_written(runtime: Runtime, one: Bundle, host_unchanged: Callable) -> None:
    refused(runtime, one.args(*PAUSE), host_unchanged, "o such file", "--pid-file", "/nowhere/pid")


def test_a_signal(runtime: Runtime, one: Bundle, host_unchanged: Callable, tmp_path: Path) -> None:
    script = tmp_path / "hook"
    script.write_text(f"#!/bin/sh\necho > {tmp_path}/here\nexec sleep 1000\n")
    script.chmod(0o755)
    one.hook("createRuntime", script).args(*PAUSE).save()
    before = picture()
    with host_unchanged():
        command = runtime.arguments("create", "--bundle", str(one.path), one.id)
        with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
            poll((tmp_path / "here").exists, "the hook")
            assert "a0" not in names()
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 1
    poll(lambda: picture() == before, f"{picture()} is not {before}")


def test_a_name_that_is_taken(runtime: Runtime, one: Bundle, keeper: int, host_unchanged: Callable) -> None:
    """Of two devices: what was moved before comes back."""
    ip("link", "add", "eth0", "type", "bridge", pid=keeper)
    make_veth("a1", "b1", addresses=False)
    one.linux["netDevices"] = {"a0": {}, "a1": {"name": "eth0"}}
    inside = names(keeper)
    line = refused(runtime, joined(one, keeper).args(*PAUSE), host_unchanged, 'a network device "eth0" is in the')
    assert "[/linux/netDevices/a1/name]" in line
    assert names(keeper) == inside


def test_the_loopback_name_is_taken(runtime: Runtime, one: Bundle, host_unchanged: Callable) -> None:
    one.linux["netDevices"] = {"a0": {"name": "lo"}}
    line = refused(runtime, one.args(*PAUSE), host_unchanged, 'a network device "lo" is in the container')
    assert "[/linux/netDevices/a0/name]" in line


def test_another_name_of_a_device_inside_counts(
    runtime: Runtime, one: Bundle, keeper: int, host_unchanged: Callable
) -> None:
    ip("link", "add", "bridge0", "type", "bridge", pid=keeper)
    ip("link", "property", "add", "dev", "bridge0", "altname", "a0", pid=keeper)
    refused(runtime, joined(one, keeper).args(*PAUSE), host_unchanged, 'a network device "a0" is in the container')


def test_addresses_that_cannot_be_given(runtime: Runtime, one: Bundle, keeper: int, host_unchanged: Callable) -> None:
    off = ["nsenter", f"--net=/proc/{keeper}/ns/net", "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"]
    subprocess.run(off, check=True)
    line = refused(runtime, joined(one, keeper).args(*PAUSE), host_unchanged, "move the network device a0")
    assert "disable_ipv6" in line


# -- what cannot be moved ------------------------------------------------------------------------


def test_no_such_device(runtime: Runtime, one: Bundle, host_unchanged: Callable) -> None:
    one.linux["netDevices"] = {"a0": {}, "eth7": {}}
    line = refused(runtime, one.args(*PAUSE), host_unchanged, 'no network device is called "eth7"')
    assert "[/linux/netDevices/eth7]" in line


def test_another_name_is_not_the_name(runtime: Runtime, one: Bundle, host_unchanged: Callable) -> None:
    ip("link", "property", "add", "dev", "a0", "altname", "other")
    one.linux["netDevices"] = {"other": {}}
    says = 'no network device is called "other": it is another name of "a0"'
    refused(runtime, one.args(*PAUSE), host_unchanged, says)


def test_a_device_that_is_inside_already(runtime: Runtime, one: Bundle, keeper: int, host_unchanged: Callable) -> None:
    ip("link", "set", "a0", "netns", str(keeper))
    refused(runtime, joined(one, keeper).args(*PAUSE), host_unchanged, 'no network device is called "a0"')
    assert "a0" in names(keeper)


def test_the_runtimes_own_namespace(runtime: Runtime, one: Bundle, host_unchanged: Callable) -> None:
    one.namespace("network", "/proc/self/ns/net")
    line = refused(runtime, one.args(*PAUSE), host_unchanged, "the runtime's network namespace")
    assert "[/linux/netDevices]" in line


def test_the_loopback(runtime: Runtime, one: Bundle, host_unchanged: Callable) -> None:
    one.linux["netDevices"] = {"lo": {"name": "lo1"}}
    line = refused(runtime, one.args(*PAUSE), host_unchanged, "a loopback device cannot be moved")
    assert "[/linux/netDevices/lo]" in line


def test_a_device_that_the_kernel_keeps(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    ip("link", "add", "bridge0", "type", "bridge")
    bundle.linux["netDevices"] = {"bridge0": {}}
    line = refused(runtime, bundle.args(*PAUSE), host_unchanged, "move the network device bridge0 into the container")
    assert "the kernel keeps this device in its namespace" in line


def test_a_user_has_none_to_give(user: User, one: Bundle, tmp_path: Path) -> None:
    user.give_ranges(True)
    user.bundle(one).save()
    runtime = UserRuntime(tmp_path, user)
    says = "network devices are not supported for rootless containers"
    line = runtime.fails("create", "--bundle", str(one.path), one.id, says=says).last_line
    assert "[/linux/netDevices]" in line
