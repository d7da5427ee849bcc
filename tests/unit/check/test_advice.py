"""Each danger: the finding's pointer, sentence and remedy; and what looks like it and is none."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from ocirt.check import CODES
from ocirt.check.examine import examine

SECCOMP = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}
SPACES = ("pid", "network", "ipc", "uts", "mount", "cgroup")
MAP = [{"containerID": 0, "hostID": 100000, "size": 1000}]
BASE: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs"},
    "process": {"cwd": "/", "args": ["sh"], "user": {"uid": 0, "gid": 0}},
    "mounts": [],
    "linux": {"namespaces": [{"type": kind} for kind in SPACES], "seccomp": SECCOMP},
}


def config(*more: tuple[str, Any]) -> dict[str, Any]:
    """BASE with values at pointers."""
    made = copy.deepcopy(BASE)
    for pointer, value in more:
        *above, last = pointer.split("/")[1:]
        holder = made
        for step in above:
            holder = holder.setdefault(step, {})
        holder[last] = value
    return made


def advice(*more: tuple[str, Any]) -> list[tuple[str, str, str]]:
    """(code, pointer, remedy); no errors."""
    found = examine(json.dumps(config(*more)).encode(), "/b").findings
    assert [one.what for one in found if one.level == "error"] == []
    return [(one.code, one.at, one.remedy) for one in found]


def without(*kinds: str, paths: dict[str, str] | None = None) -> tuple[str, Any]:
    spaces = [{"type": kind} for kind in SPACES if kind not in kinds]
    spaces += [{"type": kind, "path": path} for kind, path in (paths or {}).items()]
    return "/linux/namespaces", spaces


def bounding(*names: str) -> tuple[str, Any]:
    return "/process/capabilities", {"bounding": list(names)}


USER = (
    ("/linux/namespaces", [*BASE["linux"]["namespaces"], {"type": "user"}]),
    ("/linux/uidMappings", MAP),
    ("/linux/gidMappings", MAP),
)


def mounts(*given: dict[str, Any]) -> tuple[str, Any]:
    return "/mounts", list(given)


def bind(source: str, *options: str) -> dict[str, Any]:
    return {"destination": "/x", "type": "bind", "source": source, "options": ["rbind", *options]}


def test_nothing_to_say() -> None:
    assert advice() == []


@pytest.mark.parametrize(
    ("kind", "capability", "rest"),
    [
        ("pid", "CAP_KILL", []),
        ("pid", "CAP_SYS_PTRACE", []),
        ("network", "CAP_NET_RAW", []),
        ("network", "CAP_NET_ADMIN", []),
        ("ipc", "CAP_IPC_OWNER", []),
        ("user", "CAP_SYS_MODULE", ["user"]),
    ],
)
def test_a_namespace_of_the_host_with_what_rules_over_it(kind: str, capability: str, rest: list[str]) -> None:
    for spaces in (without(kind), without(kind, paths={kind: "/proc/1/ns/x"} if kind != "user" else {})):
        ((code, at, remedy),) = advice(spaces, bounding("CAP_CHOWN", capability))
        assert (code, at) == ("host-capability", "/process/capabilities/bounding/1")
        assert f"take out {capability}" in remedy
    if kind != "user":
        assert advice(bounding(capability)) == []  # a namespace of its own
        assert advice(without(kind, paths={kind: "/run/ns/x"}), bounding(capability)) == []  # a pod's
    assert advice(without(kind), bounding("CAP_CHOWN")) == []
    assert advice(*USER, bounding(capability)) == []


def test_each_namespace_is_told_with_all_that_rules_over_it() -> None:
    found = examine(json.dumps(config(without("uts", "cgroup"), bounding("CAP_SYS_ADMIN", "CAP_BPF"))).encode(), "/b")
    assert [one.what for one in found.findings] == [
        "the host's name is the container's to change, by CAP_SYS_ADMIN in its uts namespace",
        "the host's control groups are the container's to mount, by CAP_SYS_ADMIN in its cgroup namespace",
        "the host's kernel is the container's, by CAP_SYS_ADMIN, CAP_BPF in its user namespace",
    ]


PROC = {"destination": "/proc", "type": "proc", "source": "proc"}
PROTECTED = ("/linux/readonlyPaths", ["/proc/sys", "/proc/sysrq-trigger"])


def test_proc() -> None:
    remedy = "add /proc/sys and /proc/sysrq-trigger to linux.readonlyPaths"
    assert advice(mounts(PROC)) == [("writable-proc", "/mounts/0", remedy)]
    assert advice(mounts(PROC), PROTECTED) == []
    assert advice(mounts(PROC), ("/linux/maskedPaths", ["/proc/sys/", "/proc/sysrq-trigger"])) == []
    assert advice(mounts(PROC), ("/linux/readonlyPaths", ["/proc"])) == []
    assert advice(mounts({**PROC, "options": ["ro"]})) == []
    assert advice(*USER, mounts(PROC)) == []
    elsewhere = {**PROC, "destination": "/p"}
    remedy = "add /p/sys and /p/sysrq-trigger to linux.readonlyPaths"
    assert advice(mounts(elsewhere), PROTECTED) == [("writable-proc", "/mounts/0", remedy)]
    assert [row[:2] for row in advice(mounts(bind("/proc/sys/kernel")))] == [("writable-proc", "/mounts/0")]
    assert advice(mounts(bind("/proc/sys/kernel", "ro"))) == []


def test_sys() -> None:
    sysfs = {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid"]}
    assert advice(mounts(sysfs)) == [("writable-sys", "/mounts/0", 'add "ro" to its options')]
    assert advice(mounts({**sysfs, "options": ["ro"]})) == []
    assert advice(*USER, mounts(sysfs)) == []
    assert [row[:2] for row in advice(mounts(bind("/sys")))] == [("writable-sys", "/mounts/0")]
    assert advice(mounts(bind("/sys/fs/cgroup/x"))) == []


def test_seccomp() -> None:
    made = config()
    del made["linux"]["seccomp"]
    (one,) = examine(json.dumps(made).encode(), "/b").findings
    assert (one.code, one.at, one.what) == ("no-seccomp", "/linux", "no system call is filtered")
    idle = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_LOG"}]}
    assert [row[:2] for row in advice(("/linux/seccomp", idle))] == [("no-seccomp", "/linux/seccomp/defaultAction")]
    denies = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["bpf"], "action": "SCMP_ACT_ERRNO"}]}
    assert advice(("/linux/seccomp", denies)) == []
    del made["process"]
    assert examine(json.dumps(made).encode(), "/b").findings == []


@pytest.mark.parametrize(
    "source",
    ["/var/run/docker.sock", "/run/podman/podman.sock", "/run/containerd/containerd.sock", "/run/user/7/docker.sock",
     "//run//crio/./crio.sock", "/run/x/../docker.sock", "/run", "/var/run", "/", "/run/user/1000", "/run/containerd"],
)  # fmt: skip
def test_sockets_of_engines(source: str) -> None:
    assert [row[:2] for row in advice(mounts(bind(source, "ro")))] == [("engine-socket", "/mounts/0/source")]


@pytest.mark.parametrize(
    "source", ["/run/x/hosts", "/var/lib/docker/volumes/x", "/runs", "docker.sock", "run", ".", "/srv"]
)
def test_no_sockets_of_engines(source: str) -> None:
    assert advice(mounts(bind(source))) == []


def test_setuid() -> None:
    user = ("/process/user", {"uid": 1000, "gid": 1000})
    remedy = 'set "noNewPrivileges": true'
    assert advice(user, bounding("CAP_CHOWN")) == [("setuid", "/process", remedy)]
    off = ("/process/noNewPrivileges", False)
    assert advice(user, bounding("CAP_CHOWN"), off) == [("setuid", "/process/noNewPrivileges", remedy)]
    assert advice(user, bounding("CAP_CHOWN"), ("/process/noNewPrivileges", True)) == []
    assert advice(user) == advice(user, bounding()) == advice(bounding("CAP_CHOWN")) == []


def test_mounts_that_hide_others() -> None:
    def tmpfs(destination: str, *options: str) -> dict[str, Any]:
        return {"destination": destination, "type": "tmpfs", "source": "x", "options": list(options)}

    assert advice(mounts(tmpfs("/a/b"), tmpfs("/a"))) == [
        ("shadowed-mount", "/mounts/0/destination", "put it after /mounts/1, or leave it out")
    ]
    assert advice(mounts(tmpfs("/a"), tmpfs("/a/b"))) == []
    assert advice(mounts(tmpfs("/a"), tmpfs("/ab"), tmpfs("/a/../c//d"), tmpfs("/c/d/"))) == [
        ("shadowed-mount", "/mounts/2/destination", "leave one of the two out: the other is /mounts/3")
    ]
    assert advice(mounts(tmpfs("/a"), tmpfs("/a", "remount", "ro"))) == []


def test_ids_outside_of_the_map() -> None:
    owned = {"destination": "/a", "type": "tmpfs", "source": "x", "options": ["uid=5", "gid=1000"]}
    device = {"type": "c", "path": "/dev/x", "major": 1, "minor": 3, "uid": 1000, "gid": 0}
    assert advice(*USER, mounts(owned), ("/linux/devices", [device])) == [
        ("unmapped-id", "/mounts/0/options", "leave gid=1000 out, or map the id in linux.gidMappings"),
        ("unmapped-id", "/linux/devices/0/uid", "map the id in linux.uidMappings, or leave uid out"),
    ]
    assert advice(mounts(owned), ("/linux/devices", [device])) == []


def test_all_devices() -> None:
    deny, allow = {"allow": False, "access": "rwm"}, {"allow": True, "access": "rwm"}
    at = "/linux/resources/devices"
    assert [row[:2] for row in advice((at, [deny, allow]))] == [("device-rules", f"{at}/1")]
    assert [row[:2] for row in advice((at, [{**allow, "type": "a", "major": -1}]))] == [("device-rules", f"{at}/0")]
    assert advice((at, [allow, deny])) == []
    assert advice((at, [deny, {**allow, "type": "c", "major": 1, "minor": 3}])) == []
    assert advice((at, [{"allow": True, "access": "m"}])) == []
    assert advice(*USER, (at, [allow])) == []


def test_options_that_no_table_knows() -> None:
    mount = {"destination": "/a", "type": "tmpfs", "source": "x", "options": ["nosiud", "size=5", "huge", "ro"]}
    assert advice(mounts(mount)) == [("mount-option", "/mounts/0/options/0", 'did you mean "nosuid"?')]


def test_words_without_effect() -> None:
    assert advice(bounding("CAP_CHOWN", "CAP_SYSADMIN", "NET_RAW", "CAP_OF_MINE", "A, B")) == [
        ("unknown-capability", "/process/capabilities/bounding/1", 'did you mean "CAP_SYS_ADMIN"?'),
        ("unknown-capability", "/process/capabilities/bounding/2", 'did you mean "CAP_NET_RAW"?'),
        ("unknown-capability", "/process/capabilities/bounding/3", "see capabilities(7)"),
        ("unknown-capability", "/process/capabilities/bounding/4", "see capabilities(7)"),
    ]
    ambient = ("/process/capabilities/ambient", ["CAP_CHOWN"])
    remedy = "add them to permitted and inheritable, or leave them out"
    assert advice(ambient) == [("no-effect", "/process/capabilities/ambient", remedy)]
    relative = {"destination": "a", "type": "tmpfs", "source": "x"}
    assert advice(mounts(relative)) == [("relative-destination", "/mounts/0/destination", "begin it with /")]
    personality = ("/linux/personality", {"domain": "LINUX", "flags": ["X"]})
    assert advice(personality) == [("no-effect", "/linux/personality/flags", "leave them out")]
    hook = ("/hooks/prestart", [{"path": "/x"}])
    remedy = "use createRuntime, which runs at the same moment"
    assert advice(hook) == [("deprecated", "/hooks/prestart", remedy)]
    assert advice(("/linux/resources/memory", {"useHierarchy": False})) == []


def test_unknown_properties_stay_where_the_schema_ends() -> None:
    """Annotations have any names, other platforms' sections any members."""
    assert advice(("/annotations", {"a/b": "c"}), ("/windows", {"x": {"y": 1}}), ("/vm", {"later": 1})) == []
    assert advice(("/process/user/usrname", "me"), ("/x~y/z", 1)) == [
        ("unknown-property", "/process/user/usrname", 'did you mean "username"?'),
        ("unknown-property", "/x~0y", "leave it out, or keep such a note in annotations"),
    ]


PRIVILEGED = {
    "containerd-privileged": ["host-capability", "host-capability", "writable-proc", "writable-sys"],
    "docker-privileged": ["host-capability", "host-capability", "deprecated", "writable-proc", "writable-sys"],
    "podman-privileged": ["host-capability", "host-capability", "writable-proc", "writable-sys"],
}


@pytest.mark.parametrize("name", PRIVILEGED)
def test_what_engines_call_privileged(name: str) -> None:
    file = Path(__file__).parents[2] / f"configs/engines/{name}.json"
    found = [one.code for one in examine(file.read_bytes(), "/b").findings]
    assert sorted(found) == sorted([*PRIVILEGED[name], "no-seccomp", "device-rules"])


def test_the_page_lists_every_code() -> None:
    page = (Path(__file__).parents[3] / "docs/check.md").read_text()
    rows = {line.split("`")[1]: line.split("|")[2].strip() for line in page.splitlines() if line.startswith("| `")}
    assert {code: rows.get(code) for code in CODES} == CODES
