"""features: what the document promises is tried in containers; and it says the same everywhere."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_namespaces import FILES, host_namespace
from tests.support.bundles import Bundle
from tests.support.runtime import Runtime, poll
from tests.support.user import User, UserRuntime

NO_FEATURES = "1.8 has no features"
NO_HOST = """#!/bin/sh
# the runtime where nothing of the host's /sys and /run is to be seen, in new namespaces
exec unshare --mount --net --uts --ipc --pid --fork --cgroup sh -c '
    mount -t tmpfs none /sys && mount -t tmpfs none /run && exec "$@"' sh {command} "$@"
"""


@pytest.fixture
def document(runtime: Runtime) -> dict[str, Any]:
    result = runtime.ok("features")
    assert result.err == ""
    return json.loads(result.out)  # type: ignore[no-any-return]


@pytest.mark.differs(crun=NO_FEATURES)
def test_valid_by_the_official_schema(document: dict[str, Any]) -> None:
    pytest.importorskip("jsonschema", reason="the guest has no jsonschema")
    from tests.support.oracle import OFFICIAL, pointers, validator

    assert pointers(validator(OFFICIAL, "features-schema.json"), document) == set()


@pytest.mark.differs(crun=NO_FEATURES)
@pytest.mark.parametrize("end", ["ociVersionMin", "ociVersionMax"])
def test_versions_are_accepted(runtime: Runtime, bundle: Bundle, document: dict[str, Any], end: str) -> None:
    bundle.config["ociVersion"] = document[end]
    assert runtime.inside(bundle, "echo ran") == "ran\n"


@pytest.mark.differs(crun=NO_FEATURES)
def test_every_hook_is_run(runtime: Runtime, bundle: Bundle, document: dict[str, Any]) -> None:
    for name in document["hooks"]:
        script = bundle.root / name
        script.write_text(f"#!/bin/sh\n>/ran-{name}\n" if name == "startContainer" else f"#!/bin/sh\n>{script}.ran\n")
        script.chmod(0o755)
        bundle.hook(name, f"/{name}" if name == "startContainer" else script)
    runtime.inside(bundle, "true")
    ran = {name for name in document["hooks"] if (bundle.root / f"{name}.ran").exists()}
    ran |= {name for name in document["hooks"] if (bundle.root / f"ran-{name}").exists()}
    assert ran == set(document["hooks"])


@pytest.mark.differs(crun=NO_FEATURES, runc="1.1 hands defaults to the file system")
def test_every_mount_option_is_recognised(runtime: Runtime, bundle: Bundle, document: dict[str, Any]) -> None:
    """A word that was handed to the file system would be refused: tmpfs knows none of them."""
    (bundle.path / "source").mkdir()
    for name in document["mountOptions"]:
        target = f"/mnt/{name}"
        if name == "remount":
            bundle.mount(target, "tmpfs", "tmpfs").mount(target, "tmpfs", "tmpfs", "remount", "ro")
        elif name in ("bind", "rbind", "copy-symlink", "src-nofollow", "dest-nofollow"):
            bundle.bind(bundle.path / "source", target, "bind", name)
        elif name in ("idmap", "ridmap"):
            bundle.bind(bundle.path / "source", target, "rbind", name)
            for which in ("uidMappings", "gidMappings"):
                bundle.mounts[-1][which] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        else:
            bundle.mount(target, "tmpfs", "tmpfs", name)
    out = runtime.inside(bundle, "grep -o ' /mnt/[a-z-]* ' /proc/self/mountinfo | sort -u")
    assert {line.strip().removeprefix("/mnt/") for line in out.splitlines()} == set(document["mountOptions"])


@pytest.mark.differs(crun=NO_FEATURES)
def test_every_namespace_is_made(runtime: Runtime, bundle: Bundle, document: dict[str, Any]) -> None:
    names = document["linux"]["namespaces"]
    assert names
    for kind in names:
        if kind == "user":
            bundle.user_namespace()
        else:
            bundle.namespace(kind)
    out = runtime.inside(bundle, "".join(f"readlink /proc/self/ns/{FILES[kind]};" for kind in names))
    assert [kind for kind, seen in zip(names, out.split(), strict=True) if seen == host_namespace(kind)] == []


@pytest.mark.differs(crun=NO_FEATURES, runc="1.1 fails when it lacks one itself")
def test_every_capability_is_recognised(runtime: Runtime, bundle: Bundle, document: dict[str, Any]) -> None:
    """All that the runtime has itself is in the container."""
    bundle.capabilities(*document["linux"]["capabilities"])
    own = int(Path("/proc/self/status").read_text().partition("CapBnd:")[2].split()[0], 16)
    assert int(runtime.inside(bundle, "grep CapBnd /proc/self/status").split()[1], 16) == own
    assert len(document["linux"]["capabilities"]) >= own.bit_length()


@pytest.mark.differs(crun=NO_FEATURES, runc="1.1 has no supportedFlags")
def test_every_name_of_seccomp_is_recognised(runtime: Runtime, bundle: Bundle, document: dict[str, Any]) -> None:
    """One profile that uses them all, by rules that nothing runs into; notification has tests of its own."""
    known = document["linux"]["seccomp"]
    actions = [name for name in known["actions"] if name != "SCMP_ACT_NOTIFY"]
    rules = [{"names": [call], "action": name} for call, name in zip(RARE, actions, strict=False)]
    rules += [
        {"names": ["alarm"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 77, "op": name}]}
        for name in known["operators"]
    ]
    assert len(rules) == len(actions) + len(known["operators"])
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": [name for name in known["archs"] if name not in BIG_ENDIAN],
        "flags": [name for name in known["supportedFlags"] if name != "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        "syscalls": rules,
    }
    assert runtime.inside(bundle, "grep ^Seccomp: /proc/self/status").split() == ["Seccomp:", "2"]


@pytest.mark.only_ocirt("libseccomp says less")
def test_architectures_of_the_other_byte_order_are_known(
    runtime: Runtime, bundle: Bundle, document: dict[str, Any]
) -> None:
    """No filter can hold both; the name alone is not what is refused."""
    for name in set(document["linux"]["seccomp"]["archs"]) & set(BIG_ENDIAN):
        bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": [name]}
        bundle.linux["seccomp"]["syscalls"] = [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]
        bundle.save()
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says=f"{name} has another byte order")


BIG_ENDIAN = tuple(
    f"SCMP_ARCH_{name}"
    for name in ["M68K", "MIPS", "MIPS64", "MIPS64N32", "PARISC", "PARISC64", "PPC", "PPC64", "S390", "S390X", "SHEB"]
)
RARE = ("swapon", "swapoff", "reboot", "acct", "vhangup", "settimeofday", "init_module", "delete_module")


@pytest.mark.only_ocirt("runc 1.1 knows no memoryPolicy")
def test_every_memory_policy_is_recognised(runtime: Runtime, bundle: Bundle, document: dict[str, Any]) -> None:
    if not Path("/proc/self/numa_maps").exists():
        pytest.skip("the kernel has no NUMA policies")
    known = document["linux"]["memoryPolicy"]
    for mode in known["modes"]:
        bundle.linux["memoryPolicy"] = {"mode": mode}
        if mode not in ("MPOL_DEFAULT", "MPOL_LOCAL"):
            bundle.linux["memoryPolicy"]["nodes"] = "0"
        assert runtime.inside(bundle, "echo ran") == "ran\n", mode
    for flag in known["flags"]:
        mode = "MPOL_BIND" if flag == "MPOL_F_NUMA_BALANCING" else "MPOL_INTERLEAVE"
        bundle.linux["memoryPolicy"] = {"mode": mode, "nodes": "0", "flags": [flag]}
        assert runtime.inside(bundle, "echo ran") == "ran\n", flag


@pytest.mark.differs(crun=NO_FEATURES)
def test_the_same_wherever_it_is_asked(runtime: Runtime, document: dict[str, Any], user: User, tmp_path: Path) -> None:
    """As another user, and with nothing of the host's /sys and /run to be seen."""
    script = tmp_path / "elsewhere"
    script.write_text(NO_HOST.format(command=runtime.command))
    script.chmod(0o755)
    elsewhere = runtime.after("")
    elsewhere.command = str(script)
    (tmp_path / "user").mkdir()
    for other in (elsewhere, UserRuntime(tmp_path / "user", user)):
        result = other.ok("features", env={"PATH": os.environ["PATH"]})
        assert (json.loads(result.out), result.err) == (document, "")


# --- features --probe


def probed(runtime: Runtime) -> dict[str, tuple[bool, str]]:
    """Name -> (works, note)."""
    result = runtime.ok("features", "--probe", "--format", "json")
    assert result.err == ""
    return {check["name"]: (check["works"], check["note"]) for check in json.loads(result.out)["checks"]}


def is_mounted(controller: str) -> bool:
    hierarchies = [line.split(":")[1].split(",") for line in Path("/proc/self/cgroup").read_text().splitlines()]
    return any(controller in controllers for controllers in hierarchies)


@pytest.mark.only_ocirt("no other runtime has this")
def test_probe_as_root(runtime: Runtime, host_unchanged: Callable[[], Any]) -> None:
    with host_unchanged():
        found = probed(runtime)
    assert {name: found[name] for name in found if name.startswith(("namespace.", "mount."))} == {
        **{f"namespace.{kind}": (True, "") for kind in FILES},
        **{f"mount.{kind}": (True, "") for kind in MOUNTS},
        "mount.idmap": found["mount.idmap"],
    }
    assert found["mknod"] == found["pivot_root"] == (True, "")
    assert found["idmap.ranges"] == (True, "65536 ids")
    assert found["seccomp.notify"] == (True, "")
    assert found["scheduler.SCHED_ISO"] == (False, "sched_setattr: invalid argument")
    assert found["cgroup.birth"][0]
    for controller in ("memory", "pids", "cpuset", "cpu"):
        assert found[f"cgroup.{controller}"][0], found[f"cgroup.{controller}"]
    if "cgroup.net_cls" in found:  # version 1
        assert found["cgroup.net_cls"][0] is is_mounted("net_cls")


MOUNTS = (
    *("proc", "tmpfs", "sysfs", "mqueue", "devpts", "cgroup2", "overlay"),
    *("bind", "propagation", "api", "recursive", "nosymfollow"),
)


@pytest.mark.only_ocirt("no other runtime has this")
def test_probe_as_a_user(runtime: Runtime, user: User, tmp_path: Path, host_unchanged: Callable[[], Any]) -> None:
    """What root alone may do is said to be so; the rest is done in user namespaces."""
    (tmp_path / "user").mkdir()
    other = UserRuntime(tmp_path / "user", user)
    with host_unchanged():
        found = probed(other)
    assert found["namespace.mount"] == found["mount.proc"] == (True, "in a new user namespace")
    assert found["idmap.ranges"] == (True, "by newuidmap and newgidmap")
    assert found["mknod"] == (True, "not here: bound from the host")
    assert found["mount.idmap"] == (False, "an id-mapped mount is root's to make")
    assert found["network_devices"] == (False, "the host's devices are root's to move")
    assert found["scheduler.SCHED_FIFO"] == (False, "sched_setattr: operation not permitted")
    works, note = found["cgroup.pids" if "cgroup.directory" not in found else "cgroup.directory"]
    assert (works, note.endswith(": permission denied")) == (False, True)
    user.give_ranges(False)
    try:
        assert probed(other)["idmap.ranges"] == (False, "/etc/subuid has no range for this user")
    finally:
        user.give_ranges(True)


@pytest.mark.only_ocirt("no other runtime has this")
def test_probe_in_a_user_namespace(runtime: Runtime, host_unchanged: Callable[[], Any]) -> None:
    inner = runtime.after(
        "exec unshare --user --map-root-user --mount --pid --fork --mount-proc "
        f'sh -c \'exec "$@"\' sh {runtime.command} "$@"'
    )
    with host_unchanged():
        found = probed(inner)
    assert found["namespace.mount"] == found["namespace.user"] == (True, "")
    assert found["idmap.ranges"][0] is False  # the one id that is there is its parent's
    assert found["mknod"] == (True, "not here: bound from the host")
    assert found["rlimits.raise"] == (False, "prlimit: operation not permitted")


@pytest.mark.only_ocirt("no other runtime has this")
def test_probe_for_people(runtime: Runtime) -> None:
    result = runtime.ok("features", "--probe")
    assert result.err == ""
    head, names, *lines, last = result.out.splitlines()
    assert head.startswith("Linux ")
    assert names.split() == ["CHECK", "WORKS", "PROPERTY", "NOTE"]
    assert all(line.split()[1] in ("yes", "no") for line in lines)
    assert last == f"{sum(line.split()[1] == 'yes' for line in lines)} of {len(lines)} work here"


@pytest.mark.only_ocirt("no other runtime has this")
def test_probe_that_is_killed(runtime: Runtime, host_unchanged: Callable[[], Any]) -> None:
    """At any time: what was being tried is ended and taken away by a process that is no child of the terminal."""
    with host_unchanged():
        for milliseconds in (40, 90, 140, 190, 240, 300, 400):
            script = f"timeout -s KILL {milliseconds / 1000} {runtime.command} features --probe; true"
            subprocess.run(["bash", "-c", script], check=True, stdout=subprocess.DEVNULL, timeout=60)
            poll(lambda: not own_descendants(), "the end of what was being tried")


def own_descendants() -> list[str]:
    """As a child subreaper we get them; those that are zombies are reaped."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return Path("/proc/self/task", str(os.getpid()), "children").read_text().split()
