"""Bundles that must fail, each for one reason: docs/errors.md shows what three runtimes say of them.

A failure is a function that spoils a bundle which otherwise prints "ran".  Its name is the failure's, its docstring the
heading under which docs/errors.md shows it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.support.bundles import Bundle
from tests.support.host import Place, reap
from tests.support.runtime import Result, Runtime

AARCH64 = 183
VFS_CAP_REVISION_2, VFS_CAP_EFFECTIVE = 0x02000000, 1
CAP_NET_RAW = 13
ADD_KEY = {"x86_64": 248, "aarch64": 217}
KEY_OWNER = 231072  # a user of nobody else's, whose keys are used up


class Scene:
    """bundle: to be spoilt.  closing: what is undone when the command has failed.  prelude: what bash runs before the
    runtime, in its process.  execs: the command of `exec`, when it is that which fails in a running container.
    """

    def __init__(self, bundle: Bundle, place: Place) -> None:
        self.bundle = bundle
        self.place = place
        self.closing = ExitStack()
        self.prelude = ""
        self.execs: tuple[str, ...] = ()

    def program(self, path: str, content: bytes = b"#!/bin/sh\necho ran\n", mode: int = 0o755) -> Path:
        """Write a file of the image, and let it be the program."""
        file = self.bundle.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(mode)
        self.bundle.args(path)
        return file

    def host_directory(self, name: str) -> Path:
        directory = self.bundle.path / name
        directory.mkdir()
        return directory


def provoke(failure: Callable[[Scene], None], runtime: Runtime, bundle: Bundle, place: Place, *options: str) -> Result:
    """Run the bundle in the foreground, spoilt; the result of the command that is to fail."""
    scene = Scene(bundle.script("echo ran"), place)
    with scene.closing:
        failure(scene)
        bundle.save()
        if scene.execs:
            runtime.run_detached(bundle.script("exec sleep 1000"))
            scene.closing.callback(runtime.stop, bundle)
            scene.closing.callback(reap)  # a process of exec that nobody reaps keeps the container's init
            return runtime.call("exec", bundle.id, *scene.execs, options=options)
        runner = runtime.after(scene.prelude) if scene.prelude else runtime
        return runner.call("run", "--bundle", str(bundle.path), bundle.id, options=options)


def normal(text: str, bundle: Bundle, place: Place) -> str:
    """Without what differs from run to run: paths, the container's id, numbers of processes, times, the host's CPUs."""
    for ours, name in ((str(bundle.path), "/bundles/web1"), (bundle.id, "web1"), (place.name, "above")):
        text = text.replace(ours, name)
    for pattern, instead in (
        (r"/proc/\d+/", "/proc/PID/"),
        (r"after \d+\.\d\d s", "after N s"),
        (r"has [\d,-]+: choose", "has 0-3: choose"),
        (r"\(current usage: \d+, peak usage: \d+\)", "(current usage: N, peak usage: N)"),
        (r"/proc/self/fd/\d+", "/proc/self/fd/N"),
    ):
        text = re.sub(pattern, instead, text)
    return text


def line_of(result: Result) -> str:
    """What an engine shows of a failure: the last line; the first, of a runtime that dies with a trace."""
    lines = [line for line in result.err.splitlines() if line.strip()]
    if not lines:
        return ""
    line = lines[0] if any(line.startswith("goroutine ") for line in lines) else lines[-1]
    if line.startswith('{"msg"'):
        return str(json.loads(line)["msg"])
    record = re.fullmatch(r'time="[^"]+" level=error msg=(".*")', line)
    return str(json.loads(record[1])) if record else line


# --- the program


def no_such_program(scene: Scene) -> None:
    """The program is not in the image"""
    (scene.bundle.root / "opt").mkdir()
    scene.bundle.args("/opt/app/run")


def dangling_link(scene: Scene) -> None:
    """The program is a link to what the image does not have"""
    (scene.bundle.root / "bin/server").symlink_to("/usr/lib/server/main")
    scene.bundle.args("/bin/server")


def not_in_path(scene: Scene) -> None:
    """No directory of PATH has the program"""
    scene.bundle.args("server")
    scene.bundle.process["env"] = ["PATH=/usr/local/bin:/bin"]


def in_path_without_x(scene: Scene) -> None:
    """A directory of PATH has the program, without an x bit"""
    scene.program("/bin/server", mode=0o644)
    scene.bundle.args("server").process["env"] = ["PATH=/usr/local/bin:/bin"]


def no_x_bit(scene: Scene) -> None:
    """The program has no x bit"""
    scene.program("/app", mode=0o644)


def a_directory(scene: Scene) -> None:
    """The program is a directory"""
    scene.bundle.args("/bin")


def a_file_on_the_way(scene: Scene) -> None:
    """Something on the way to the program is a file"""
    scene.bundle.args("/etc/passwd/run")


def closed_directory(scene: Scene) -> None:
    """The user may not pass a directory on the way"""
    scene.program("/root/app")
    scene.bundle.process["user"] = {"uid": 1000, "gid": 1000}


def unmapped_owner(scene: Scene) -> None:
    """The program belongs to a user whom the container's user namespace does not know"""
    scene.bundle.user_namespace(host=100000, size=1000)
    file = scene.program("/app", mode=0o700)
    os.chown(file, 5000, 5000)


def noexec_mount(scene: Scene) -> None:
    """The program is on a mount with noexec"""
    file = scene.host_directory("tools") / "app"
    file.write_bytes(b"#!/bin/sh\n")
    file.chmod(0o755)
    scene.bundle.mount("/tools", "none", str(file.parent), "bind", "noexec").args("/tools/app")


def script_without_interpreter(scene: Scene) -> None:
    """A script does not begin with #!"""
    scene.program("/app", b"echo ran\n")


def script_with_byte_order_mark(scene: Scene) -> None:
    """An editor wrote a byte order mark before the #!"""
    scene.program("/app", b"\xef\xbb\xbf#!/bin/sh\necho ran\n")


def script_with_cr(scene: Scene) -> None:
    """A script was written on Windows: its first line ends in CR LF"""
    scene.program("/app", b"#!/bin/sh\r\necho ran\r\n")


def no_interpreter(scene: Scene) -> None:
    """The interpreter of a script is not in the image"""
    scene.program("/app", b"#!/usr/bin/python3\nprint('ran')\n")


def no_loader(scene: Scene) -> None:
    """The loader that a program was linked with is not in the image"""
    shutil.copy("/bin/true", scene.program("/app"))


def interpreter_without_loader(scene: Scene) -> None:
    """The interpreter of a script is there, its own loader is not"""
    shutil.copy("/bin/bash", scene.bundle.root / "bin/bash")
    scene.program("/app", b"#!/bin/bash\necho ran\n")


def wrong_machine(scene: Scene) -> None:
    """The image is for another architecture"""
    scene.program("/app", b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HH", 2, AARCH64) + bytes(200))


def empty_program(scene: Scene) -> None:
    """The program is empty"""
    scene.program("/app", b"")


def busy_program(scene: Scene) -> None:
    """The program is being written"""
    file = scene.program("/app", Path("/bin/busybox").read_bytes())
    scene.closing.enter_context(file.open("r+b"))


def file_capability(scene: Scene) -> None:
    """A capability of the program's file is not in the bounding set"""
    file = scene.program("/app", Path("/bin/busybox").read_bytes())
    value = struct.pack("<IIIII", VFS_CAP_REVISION_2 | VFS_CAP_EFFECTIVE, 1 << CAP_NET_RAW, 0, 0, 0)
    os.setxattr(file, "security.capability", value)


def long_argument(scene: Scene) -> None:
    """One argument is longer than the kernel takes"""
    scene.bundle.args("/bin/echo", "-n", "x" * 200_000)


def exec_of_nothing(scene: Scene) -> None:
    """The program of exec is not in the container"""
    scene.execs = ("/usr/bin/bash",)


def directory_is_a_file(scene: Scene) -> None:
    """The working directory is a file"""
    scene.bundle.process["cwd"] = "/etc/passwd"


# --- mounts


def no_root(scene: Scene) -> None:
    """root.path is wrong"""
    scene.bundle.config["root"]["path"] = "root-fs"


def no_source(scene: Scene) -> None:
    """A bind's source is not on the host"""
    source = scene.host_directory("volumes") / "data/web"
    scene.bundle.mount("/data", "none", str(source), "bind")


def file_on_directory(scene: Scene) -> None:
    """A file is bound on a directory of the image"""
    source = scene.host_directory("volumes") / "app.conf"
    source.write_text("x")
    (scene.bundle.root / "etc/app").mkdir()
    scene.bundle.mount("/etc/app", "none", str(source), "bind")


def directory_on_file(scene: Scene) -> None:
    """A directory is bound on a file of the image"""
    scene.bundle.mount("/etc/passwd", "none", str(scene.host_directory("volumes")), "bind")


def file_system_on_file(scene: Scene) -> None:
    """A file system is mounted on a file of the image"""
    scene.bundle.mount("/etc/passwd", "tmpfs", "tmpfs")


def misspelt_type(scene: Scene) -> None:
    """The kernel has no file system of this name"""
    scene.bundle.mount("/cache", "tmfps", "tmpfs")


def bind_as_type(scene: Scene) -> None:
    """A mount has the type "bind", and no such option"""
    scene.bundle.mount("/data", "bind", str(scene.host_directory("volumes")), "ro")


def wrong_option(scene: Scene) -> None:
    """A file system does not know an option"""
    scene.bundle.mount("/cache", "tmpfs", "tmpfs", "nosuid", "sizze=64m")


def wrong_value(scene: Scene) -> None:
    """A file system does not take an option's value"""
    scene.bundle.mount("/cache", "tmpfs", "tmpfs", "size=64meg")


def image_without_loop_device(scene: Scene) -> None:
    """The source of a file system on a disk is a file"""
    image = scene.host_directory("volumes") / "disk.img"
    image.write_bytes(bytes(1 << 16))
    scene.bundle.mount("/data", "ext4", str(image))


def overlay_without_lower(scene: Scene) -> None:
    """A directory of an overlay is not there"""
    layers = scene.host_directory("layers")
    for name in ("upper", "work"):
        (layers / name).mkdir()
    options = (f"lowerdir={layers}/base", f"upperdir={layers}/upper", f"workdir={layers}/work")
    scene.bundle.mount("/data", "overlay", "overlay", *options)


def unmappable_source(scene: Scene) -> None:
    """The source of an id-mapped mount is on a file system that has none"""
    scene.bundle.mount("/data", "none", "/proc/sys", "bind", "idmap")
    ids = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    scene.bundle.mounts[-1] |= {"uidMappings": ids, "gidMappings": ids}


# --- namespaces, limits


def no_network_namespaces(scene: Scene) -> None:
    """The host allows no more namespaces of a type"""
    scene.prelude = 'if [ -z "$AGAIN" ]; then AGAIN=1 exec unshare --user --map-root-user "$0" "$@"; fi\n'
    scene.prelude += "echo 0 > /proc/sys/user/max_net_namespaces"


def unmapped_ids(scene: Scene) -> None:
    """A map has ids that the runtime itself does not have"""
    scene.prelude = 'if [ -z "$AGAIN" ]; then AGAIN=1 exec unshare --user --map-root-user "$0" "$@"; fi'
    scene.bundle.namespace("user")
    for which in ("uidMappings", "gidMappings"):
        scene.bundle.linux[which] = [
            {"containerID": 0, "hostID": 0, "size": 1},
            {"containerID": 1, "hostID": 100000, "size": 65536},
        ]


def joined_namespace_of_nobody(scene: Scene) -> None:
    """The process whose namespace is to be joined has ended"""
    scene.bundle.namespace("network", "/proc/4194303/ns/net")


def raised_limit(scene: Scene) -> None:
    """A hard limit is to be raised without the right to it"""
    scene.prelude = 'if [ -z "$AGAIN" ]; then AGAIN=1 exec setpriv --bounding-set -sys_resource "$0" "$@"; fi\n'
    scene.prelude += "ulimit -Sn 1024; ulimit -Hn 4096"
    scene.bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 65536}]


def too_many_processes(scene: Scene) -> None:
    """The cgroup in which the runtime is called has as many processes as it may"""
    cgroup = scene.place.cgroup("pids") / "few"
    cgroup.mkdir()
    scene.closing.callback(cgroup.rmdir)
    (cgroup / "pids.max").write_text("20")
    scene.closing.enter_context(fill(cgroup, 19))
    scene.prelude = f"echo $$ > {cgroup}/cgroup.procs"


def no_process_for_a_hook(scene: Scene) -> None:
    """linux.resources.pids leaves no process for a hook in the container"""
    scene.bundle.resources(pids={"limit": 1}).hook("startContainer", "/bin/true")


def used_up_keys(scene: Scene) -> None:
    """The user's quota of kernel keys is used up"""
    scene.bundle.user_namespace(host=KEY_OWNER)
    script = (
        f"import ctypes, os, sys\nos.setresgid(*[{KEY_OWNER}] * 3)\nos.setresuid(*[{KEY_OWNER}] * 3)\n"
        "libc, number = ctypes.CDLL(None), 0\n"
        f"add = lambda name: libc.syscall({ADD_KEY[os.uname().machine]}, b'user', name, b'x', 1, -2)\n"
        "while add(b'ocirt%d' % number) > 0: number += 1\n"
        "print(number, flush=True)\nsys.stdin.read()\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    scene.closing.callback(holder.communicate)
    assert holder.stdout is not None
    assert int(holder.stdout.readline()) > 0


def little_memory(scene: Scene) -> None:
    """The memory limit is too small for the program to start"""
    scene.bundle.resources(memory={"limit": 4096})


def cpus_that_are_not_there(scene: Scene) -> None:
    """linux.resources.cpu.cpus names CPUs that the host does not have"""
    scene.bundle.resources(cpu={"cpus": "900-901"})


# --- hooks, checkpoints


def failing_hook(scene: Scene) -> None:
    """A hook fails"""
    hook(scene, "network", "echo looking for web1 >&2\necho bridge br0 is not there >&2\nexit 3")
    scene.bundle.hook("createRuntime", scene.bundle.path / "network", "add", "web1")


def slow_hook(scene: Scene) -> None:
    """A hook runs past its timeout"""
    hook(scene, "network", "echo waiting for br0 >&2\nexec sleep 1000")
    scene.bundle.hook("createRuntime", scene.bundle.path / "network", timeout=1)


def hook_without_x(scene: Scene) -> None:
    """A hook has no x bit"""
    hook(scene, "network", "exit 0").chmod(0o644)
    scene.bundle.hook("prestart", scene.bundle.path / "network")


def hook_without_interpreter(scene: Scene) -> None:
    """The interpreter of a hook in the container is not there"""
    scene.program("/setup", b"#!/usr/bin/python3\n")
    scene.bundle.script("echo ran").hook("startContainer", "/setup")


def hook(scene: Scene, name: str, script: str) -> Path:
    path = scene.bundle.path / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


class fill:  # used as a context
    """Sleeping processes in a cgroup, until the end of the block."""

    def __init__(self, cgroup: Path, count: int) -> None:
        self.cgroup = cgroup
        self.count = count
        self.sleepers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> fill:
        for _ in range(self.count):
            sleeper = subprocess.Popen(["sleep", "1000"])
            self.sleepers.append(sleeper)
            (self.cgroup / "cgroup.procs").write_text(str(sleeper.pid))
        return self

    def __exit__(self, *_: object) -> None:
        for sleeper in self.sleepers:
            sleeper.kill()
            sleeper.wait()


PROGRAM = (
    no_such_program,
    dangling_link,
    not_in_path,
    in_path_without_x,
    no_x_bit,
    a_directory,
    a_file_on_the_way,
    closed_directory,
    unmapped_owner,
    noexec_mount,
    script_without_interpreter,
    script_with_byte_order_mark,
    script_with_cr,
    no_interpreter,
    no_loader,
    interpreter_without_loader,
    wrong_machine,
    empty_program,
    busy_program,
    file_capability,
    long_argument,
    exec_of_nothing,
    directory_is_a_file,
)
MOUNTS = (
    no_root,
    no_source,
    file_on_directory,
    directory_on_file,
    file_system_on_file,
    misspelt_type,
    bind_as_type,
    wrong_option,
    wrong_value,
    image_without_loop_device,
    overlay_without_lower,
    unmappable_source,
)
LIMITS = (
    no_network_namespaces,
    unmapped_ids,
    joined_namespace_of_nobody,
    raised_limit,
    too_many_processes,
    no_process_for_a_hook,
    used_up_keys,
    little_memory,
    cpus_that_are_not_there,
)
HOOKS = (failing_hook, slow_hook, hook_without_x, hook_without_interpreter)
FAILURES = {
    "The program": PROGRAM,
    "Mounts and the root": MOUNTS,
    "Namespaces and limits": LIMITS,
    "Hooks": HOOKS,
}
