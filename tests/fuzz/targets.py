"""What untrusted bytes reach, one function each: it returns, or refuses with a code; anything else is a find.

Whose bytes they are: a bundle's author's (json, config, check, process, resources, plan, mount_options, seccomp,
annotations), an image's (passwd, program), the container's first process's (conversation, trace_memory), a bus's
(dbus), a disk's after a crash (record), the host's mount table with names that others chose (mountinfo), those of who
asks for help (trace, secrets).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jeepney

from ocirt.box import Box
from ocirt.bugreport.redact import HIDDEN, Redactor
from ocirt.cgroups import dbus
from ocirt.cgroups.layout import parse_cgroup_mounts, parse_own_cgroups
from ocirt.cgroups.unit_properties import annotated
from ocirt.channel import Channel
from ocirt.check import ERROR, report
from ocirt.check.examine import examine
from ocirt.config import jsontext, mountopts, schema
from ocirt.config.bundle import read_config, read_process, read_resources
from ocirt.config.views import Seccomp
from ocirt.container import Container
from ocirt.criu.mounts import parse_mountinfo
from ocirt.diagnosis import places
from ocirt.diagnosis import program as diagnosis
from ocirt.errors import OcirtError
from ocirt.pipeline import Plan
from ocirt.plan import Options, make_plan
from ocirt.process import launch
from ocirt.seccomp.compared import differences, merged
from ocirt.seccomp.compiler import compile_filter
from ocirt.seccomp.listing import listing, text
from ocirt.seccomp.reasons import Reasons
from ocirt.seccomp.watched import notify_about_denials
from ocirt.stages.identity import home_of
from ocirt.trace import chart, chrome
from ocirt.trace.recorder import FILE, FROM_INIT, PHASES, Context, Mark, Memory, Name, Recorder
from ocirt.trace.spans import processes
from tests.plans.test_plans import HOSTS
from tests.support import bpf, fakebus

HERE = Path(__file__).parent
CONFIGS = HERE.parent / "configs"
PLANS = HERE.parent / "plans"

Target = Callable[[bytes], None]
# config.json, --process and --resources are big texts; more would only be slower.
MOST_BYTES = 16384
SMALL = b'{"ociVersion": "1.3.0", "root": {"path": "r"}}'
SEPARATOR = b"\xff\xff"


def parse_json(data: bytes) -> None:
    """What is accepted is what the standard library reads, and can be written and read again."""
    value = jsontext.parse(data, "config.json")
    assert value == without_nulls(json.loads(data))
    assert jsontext.parse(jsontext.dump(value).encode(), "again") == value


def without_nulls(value: Any) -> Any:
    """Members that are null are absent, as in Go."""
    if isinstance(value, dict):
        return {name: without_nulls(member) for name, member in value.items() if member is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def config(data: bytes) -> None:
    read_config(data)


def check(data: bytes) -> None:
    """In what create refuses there is an error; every finding is in the text."""
    found = examine(data, "/bundle").findings
    lines = data.decode("utf-8", "replace").split("\n")
    assert all(1 <= one.column <= len(lines[one.line - 1]) + 1 for one in found)
    json.loads(report.dump(report.sarif("config.json", found)))
    try:
        read_config(data)
    except OcirtError:
        assert any(one.level == ERROR for one in found)


def process(data: bytes) -> None:
    read_process(data)


def resources(data: bytes) -> None:
    read_resources(data)


def plan(data: bytes) -> None:
    """A plan for every kind of host, and its text: nothing of a step's data may come too late."""
    asked = read_config(data)
    for name, host in HOSTS.items():
        for manager in ("cgroupfs", "systemd"):
            with coded():
                options = Options("web1", "/bundle", rootless=host.rootless, cgroup_manager=manager)
                assert make_plan(asked, host, options).describe(), name


def mount_options(data: bytes) -> None:
    parsed = mountopts.parse_options(tuple(data.decode("utf-8", "replace").split("\n")))
    mountopts.mount_attributes(parsed.flags)


def seccomp(data: bytes) -> None:
    """A filter that is made passes the kernel's check of jumps, for a machine of each byte order.

    It can be listed and watched, and the profile written anew does the same.
    """
    document = b'{"ociVersion": "1.0.0", "root": {"path": "r"}, "linux": {"seccomp": ' + data + b"}}"
    view = read_config(document).linux.seccomp
    if view is None:
        return
    for machine, order in (("x86_64", "<"), ("s390x", ">")):
        with coded():
            bpf.instructions(compile_filter(view, machine)[0], order)
    with coded():
        reasons = Reasons(view, "x86_64")
        assert text(listing(reasons))
        bpf.instructions(notify_about_denials(reasons.filter.native, reasons.program))
        again = merged([("profile", view)], "x86_64")
        schema.validate(again, "seccomp")
        assert differences(view, Seccomp(again), "x86_64") == []


def annotations(data: bytes) -> None:
    name, _, text = data.decode("utf-8", "replace").partition("\n")
    annotated({f"org.systemd.property.{name}": text})


def passwd(data: bytes) -> None:
    """Of an image's /etc/passwd comes a text that can stand in an environment."""
    for uid in (0, 1000, 4294967295):
        os.fsencode(home_of(uid, data))
        assert "\0" not in home_of(uid, data)


def program(data: bytes) -> None:
    """Of an image's program that is not executed: a sentence of a bounded length, or none."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "app")
        file.write_bytes(data)
        file.chmod(0o755)
        root, proc = os.open(directory, os.O_PATH), os.open("/proc", os.O_PATH)
        try:
            view = diagnosis.View(root, proc, "self", places.Who(proc, "self"))
            for number in (errno.ENOENT, errno.ENOEXEC, errno.EACCES):
                said, _ = diagnosis.cause(view, diagnosis.Call("/app", "/app"), number)
                assert len(said) < 20 * places.SHOWN
        finally:
            os.close(root)
            os.close(proc)


def mountinfo(data: bytes) -> None:
    """Names as the kernel writes them (proc_pid_mountinfo(5), cgroups(7)) are found, whatever is in them."""
    names = [name for name in data.decode("utf-8", "surrogateescape").split("\0") if name and "\n" not in name]
    if len(names) < 3:
        return
    own, point, *others = (f"/{name}" for name in names)
    lines = [f"{number} 1 0:1 / {escaped(other)} rw - tmpfs none rw\n" for number, other in enumerate(others)]
    lines.append(f"99 1 0:2 / {escaped(point)} rw,nosuid shared:1 - cgroup2 cgroup2 rw\n")
    found = parse_own_cgroups(f"4:memory:/m\n0::{own}\n")
    assert found == {"memory": "/m", "": own}
    assert parse_cgroup_mounts("".join(lines), found) == ({}, {}, point)
    assert [line.point for line in parse_mountinfo("".join(lines))] == [*others, point]


def escaped(path: str) -> str:
    return "".join(f"\\{ord(char):03o}" if char in " \t\n\\#" else char for char in path)


def conversation(data: bytes) -> None:
    """What init might send, records with SEPARATOR between them, against the runtime's side."""
    with pieces(data, SEPARATOR) as ours:
        box = Box(None)  # type: ignore[arg-type]
        box.channel = Channel(ours)
        launch.serve(Plan(clone_flags=0), box)


@contextlib.contextmanager
def pieces(data: bytes, separator: bytes) -> Iterator[socket.socket]:
    """A socket that receives the pieces of data one by one, and then the end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        theirs.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            for piece in data.split(separator):
                if piece:  # an empty one would be the end
                    theirs.send(piece)
        theirs.shutdown(socket.SHUT_WR)
        yield ours


def bus(data: bytes) -> None:
    """What a bus might send, in pieces with SEPARATOR between them, against a call and a job."""
    with pieces(data, SEPARATOR) as ours, dbus.Connection(ours, direct=True, seconds=5.0) as connection:
        connection.run_job("StopUnit", "ss", ("x.scope", "replace"))


def record(data: bytes) -> None:
    """A state.json: read for a command and for `delete --force`; with the container's config beside it."""
    with tempfile.TemporaryDirectory() as root:
        directory = Path(root, "c1")
        directory.mkdir(mode=0o711)
        Path(directory, "state.json").write_bytes(data)
        Path(directory, "config.json").write_bytes(b'{"ociVersion": "1.0.0", "root": {"path": "r"}}')
        for read in (Container.load, Container.salvage):
            with coded():
                found = read(root, "c1")
                if found is not None:
                    try:
                        look_at(found)
                    finally:
                        os.close(found.dirfd)


def look_at(container: Container) -> None:
    container.manager()
    jsontext.dump(container.state("stopped"))
    container.config()
    container.save()


def trace(data: bytes) -> None:
    """A file that --trace wrote, to be shown."""
    chart.draw(chart.read(data, "trace.json"), 120, 1000)


def trace_memory(data: bytes) -> None:
    """What init noted, as `start --trace` finds it."""
    tracer = Recorder(Context("", "", bytes(24)))
    tracer.was(1000, 0, "start the interpreter")
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, FILE).write_bytes(data)
        dirfd = os.open(directory, os.O_RDONLY)
        try:
            tracer.adopt(dirfd, 42)
        finally:
            os.close(dirfd)
    ends = Mark(-1, 2**62, 0, Name(""))
    found = processes(tracer, "ocirt start c1", "", "", ends)
    for process in found:
        jsontext.parse(f"[{','.join(chrome.event(process, span) for span in process.spans)}]".encode(), "again")
        assert process.named() == 1.0


def trace_examples() -> list[bytes]:
    """One span in each format."""
    chrome = {"name": "x", "cat": "process", "ph": "X", "ts": 1, "dur": 9, "pid": 7, "tid": 7}
    args = {"wall_us": 9.0, "cpu_us": 1, "error": "x", "trace_id": "0"}
    otlp = {"traceId": "0", "name": "x", "startTimeUnixNano": "1", "endTimeUnixNano": "9"}
    kind = {"attributes": [{"key": "ocirt.kind", "value": {"stringValue": "process"}}]}
    pid = {"attributes": [{"key": "process.pid", "value": {"intValue": "7"}}]}
    resource = {"resource": pid, "scopeSpans": [{"spans": [otlp | kind]}]}
    documents = ([chrome | {"args": args}, chrome | {"args": args, "cat": "phase"}], {"resourceSpans": [resource]})
    return [json.dumps(document, separators=(",", ":")).encode() for document in documents]


def trace_memory_example() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        dirfd = os.open(directory, os.O_RDONLY)
        memory = Memory.make(
            make_plan(read_config(SMALL), HOSTS["v2"], Options("c1", "/b")), dirfd, Context("", "", bytes(24))
        )
        os.close(dirfd)
        for number in range(3):
            memory.note(FROM_INIT, 2000 + number, number, PHASES[number])
        return Path(directory, FILE).read_bytes()


def secrets(data: bytes) -> None:
    """A configuration for a report: what an environment holds is nowhere in it."""
    value = jsontext.parse(data, "config.json")
    redactor = Redactor()
    hidden = redactor.value(value)
    assert type(hidden) is type(value)
    jsontext.dump(hidden)
    assert redactor.text(HIDDEN) == HIDDEN


class Find(Exception):
    """ocirt says itself that it is at fault."""


@contextlib.contextmanager
def coded() -> Iterator[None]:
    """A refusal with a code is what is wanted; the code must not blame ocirt."""
    try:
        yield
    except OcirtError as error:
        if error.code == "internal":
            raise Find(str(error)) from error


def dbus_example() -> bytes:
    """What systemd says when a unit is stopped."""
    manager = jeepney.DBusAddress(dbus.MANAGER_PATH, dbus.SYSTEMD, dbus.MANAGER)
    call = jeepney.new_method_call(manager, "StopUnit", "ss", ("x.scope", "replace"))
    call.header.serial = 1
    messages = (fakebus.reply(call, "o", "/job/1"), fakebus.job_removed("/job/1", "x.scope", "done"))
    return SEPARATOR.join((b"DATA\r\n", b"OK 0123\r\n", *(message.serialise(serial=7) for message in messages)))


def record_example(kind: str) -> bytes:
    cgroup = {
        "v1": {"kind": "v1", "paths": {"pids": "/sys/fs/cgroup/pids/c1"}, "made": ["/sys/fs/cgroup/pids/c1"]},
        "v2": {"kind": "v2", "paths": {"": "/sys/fs/cgroup/c1"}, "made": ["/sys/fs/cgroup/c1"]},
        "systemd": {"kind": "systemd", "files": "v2", "paths": {"": "/sys/fs/cgroup/system.slice/c1.scope"}, "made": [],
                    "slice": "system.slice", "unit": "c1.scope", "user": False},
    }[kind]  # fmt: skip
    record = {
        "version": 1, "id": "c1", "boot_id": "x", "pid": 7, "start_time": 8, "cgroup_wanted": [],
        "oci_version": "1.3.0", "bundle": "/b", "rootfs": "/b/r", "created": "2026-01-01T00:00:00.000000000Z",
        "owner": 0, "root_mount": [], "annotations": {"a": "b"}, "poststop": False, "cgroup": cgroup,
    }  # fmt: skip
    return json.dumps(record).encode()


TARGETS: dict[str, Target] = {
    "json": parse_json,
    "config": config,
    "check": check,
    "process": process,
    "resources": resources,
    "plan": plan,
    "mount_options": mount_options,
    "seccomp": seccomp,
    "annotations": annotations,
    "passwd": passwd,
    "program": program,
    "mountinfo": mountinfo,
    "conversation": conversation,
    "dbus": bus,
    "record": record,
    "trace": trace,
    "trace_memory": trace_memory,
    "secrets": secrets,
}
# Here the other side is at fault, and the code for that is the same as for our own.
MAY_BLAME = ("conversation",)


def run(name: str, data: bytes) -> None:
    """One input against one target.  Raises what is a find."""
    if len(data) > MOST_BYTES:
        return
    try:
        TARGETS[name](data)
    except OcirtError as error:
        if error.code == "internal" and name not in MAY_BLAME:
            raise Find(str(error)) from error


def seeds(name: str) -> list[bytes]:
    """What mutation begins with: the kept corpus, and what other tests have."""
    files = sorted((HERE / "corpus" / name).glob("*"))
    if name in ("json", "config", "check", "plan", "secrets"):
        files += sorted((CONFIGS / "good").glob("*.json")) + sorted(PLANS.glob("*.json"))
    if name in ("json", "config", "check"):
        files += sorted((CONFIGS / "bad").glob("*.json"))
    texts = [file.read_bytes() for file in files]
    return texts + parts(*PARTS[name]) if name in PARTS else texts + EXAMPLES.get(name, [])


PARTS = {"process": ["process"], "resources": ["linux", "resources"], "seccomp": ["linux", "seccomp"]}
EXAMPLES = {
    "mount_options": [b"rbind\nrro\nsize=64k\nrslave\nidmap\nnosuid\ntmpcopyup\nnoatime\nmode=1777"],
    "annotations": [
        b"TimeoutStopUSec\nuint64 10",
        b"TimeoutStopSec\n1.5",
        b"X\n@a{sv} {'a': <[(1, b'b', [byte 0x1], true)]>, \"c\\u00e9\": <@au []>}",
    ],
    "passwd": [b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:\n\nmax:x:4294967295:0:::\n"],
    "program": [
        b"#!/usr/bin/env sh\r\n",
        b"\x7fELF\2\1\1"
        + bytes(9)
        + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
        + struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, 11, 11, 1)
        + b"/lib/ld.so\0",
        b"\x7fELF\1\2\1" + bytes(9) + struct.pack(">HHIIIIIHHHHHH", 2, 20, 1, 0, 52, 0, 0, 52, 32, 1, 0, 0, 0),
    ],
    "mountinfo": [b"user.slice/a b\0sys/fs/cgroup\0mnt/a\tb\0proc\\"],
    "conversation": [
        b"LOG\0debug\0text\xff\xffASK\0hooks\xff\xffREADY",
        b"PID\x0012\0outside\xff\xffERROR\0step-failed\0w\0s\0t\0/a\0mount\x002\0d\0r",
    ],
    "dbus": [dbus_example()],
    "record": [record_example("v2"), record_example("systemd"), record_example("v1")],
    "trace": trace_examples(),
    "trace_memory": [trace_memory_example()],
}


def parts(*path: str) -> list[bytes]:
    """That member of every good configuration that has it."""
    found = []
    for file in sorted((CONFIGS / "good").glob("*.json")):
        value = json.loads(file.read_bytes())
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if value is not None:
            found.append(json.dumps(value).encode())
    return found
