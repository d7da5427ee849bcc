"""Bundles for end-to-end tests: a busybox root made from hard links, and a configuration to edit."""

from __future__ import annotations

import copy
import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

BUSYBOX = Path("/bin/busybox")
PROBE_SOURCE = Path(__file__).with_name("probe.c")

# those the tests call
APPLETS = """
    [ ash awk basename cat chmod chown cp cut date dd df dirname echo env expr false find grep head hostname id
    ifconfig ip ipcs kill ln ls mkdir mkfifo mknod mount mv nc nproc ps pwd readlink rm rmdir sed seq sh sleep sort
    stat stty sync sysctl tail tee test timeout touch tr trap true tty umount uname wc which whoami xargs
"""

DIRECTORIES = ("bin", "dev", "etc", "home/user", "proc", "root", "sys", "tmp", "usr/bin", "var/empty")

PASSWD = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n1001:x:0:0::/:/bin/sh\n"
GROUP = "root:x:0:\nuser:x:1000:\n"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def base_config() -> dict[str, Any]:
    """A config.json much like `runc spec` writes, without a terminal, with a writable root and no cgroup mount."""
    capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/sh"],
            "env": [PATH, "TERM=xterm"],
            "cwd": "/",
            "capabilities": {name: list(capabilities) for name in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs"},
        "hostname": "ocirt-e2e",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {
                "destination": "/dev",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
            },
            {
                "destination": "/dev/pts",
                "type": "devpts",
                "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            },
            {
                "destination": "/dev/shm",
                "type": "tmpfs",
                "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
            },
            {
                "destination": "/dev/mqueue",
                "type": "mqueue",
                "source": "mqueue",
                "options": ["nosuid", "noexec", "nodev"],
            },
            {
                "destination": "/sys",
                "type": "sysfs",
                "source": "sysfs",
                "options": ["nosuid", "noexec", "nodev", "ro"],
            },
        ],
        "linux": {
            "namespaces": [{"type": name} for name in ("pid", "network", "ipc", "uts", "mount")],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }


class Roots:
    """Makes root file systems quickly: busybox and the probe are copied once, then hard-linked."""

    def __init__(self, directory: Path) -> None:
        self._busybox = directory / "busybox"
        self._probe = directory / "probe"
        directory.mkdir(parents=True, exist_ok=True)
        shutil.copy2(BUSYBOX, self._busybox)
        subprocess.run(["gcc", "-static", "-O1", "-o", self._probe, PROBE_SOURCE], check=True, timeout=60)

    def make(self, root: Path) -> None:
        """Make a busybox root at the new directory root."""
        root.mkdir(mode=0o755)
        for name in DIRECTORIES:
            (root / name).mkdir(parents=True)
        (root / "tmp").chmod(0o1777)
        (root / "root").chmod(0o700)
        os.link(self._busybox, root / "bin/busybox")
        os.link(self._probe, root / "bin/probe")
        for applet in APPLETS.split():
            (root / "bin" / applet).symlink_to("busybox")
        (root / "etc/passwd").write_text(PASSWD)
        (root / "etc/group").write_text(GROUP)
        os.chown(root / "home/user", 1000, 1000)


class Bundle:
    """A bundle directory.  Edit `config`, then save(); `root` is its root file system."""

    def __init__(self, path: Path, roots: Roots) -> None:
        self.path = path
        self.root = path / "rootfs"
        self.config = base_config()
        self.id = path.name
        self.pid = 0  # of the container's init, since create
        path.mkdir(parents=True)
        roots.make(self.root)

    @property
    def process(self) -> dict[str, Any]:
        return self.config["process"]  # type: ignore[no-any-return]

    @property
    def linux(self) -> dict[str, Any]:
        return self.config["linux"]  # type: ignore[no-any-return]

    @property
    def mounts(self) -> list[dict[str, Any]]:
        return self.config["mounts"]  # type: ignore[no-any-return]

    def args(self, *args: str) -> Bundle:
        self.process["args"] = list(args)
        return self

    def script(self, text: str) -> Bundle:
        """Let the payload be a shell that runs text."""
        return self.args("/bin/sh", "-c", text)

    def mount(self, destination: str, kind: str, source: str, *options: str) -> Bundle:
        """Append one mount."""
        self.mounts.append({"destination": destination, "type": kind, "source": source, "options": list(options)})
        return self

    def bind(self, source: Path | str, destination: str, *options: str) -> Bundle:
        return self.mount(destination, "none", str(source), *(options or ("bind",)))

    def without_mount(self, destination: str) -> Bundle:
        self.config["mounts"] = [entry for entry in self.mounts if entry["destination"] != destination]
        return self

    def namespace(self, kind: str, path: str = "") -> Bundle:
        """Make the namespace of this kind new, or joined when path is given."""
        self.without_namespace(kind)
        self.linux["namespaces"].append({"type": kind, "path": path} if path else {"type": kind})
        return self

    def without_namespace(self, kind: str) -> Bundle:
        """Let the container inherit the runtime's namespace of this kind."""
        self.linux["namespaces"] = [entry for entry in self.linux["namespaces"] if entry["type"] != kind]
        return self

    def capabilities(self, *names: str) -> Bundle:
        """The same names in the bounding, effective and permitted sets; the other two empty."""
        self.process["capabilities"] = {which: list(names) for which in ("bounding", "effective", "permitted")}
        return self

    def user_namespace(self, host: int = 100000, size: int = 65536) -> Bundle:
        """A new user namespace with one mapping from 0, and a root file system that belongs to its root."""
        self.namespace("user")
        for which in ("uidMappings", "gidMappings"):
            self.linux[which] = [{"containerID": 0, "hostID": host, "size": size}]
        for directory, names, files in os.walk(self.root):
            for name in (".", *names, *files):
                path = os.path.join(directory, name)
                if not stat.S_ISREG(os.lstat(path).st_mode):  # busybox is a hard link all bundles share
                    os.chown(path, host, host, follow_symlinks=False)
        return self

    def resources(self, **controllers: Any) -> Bundle:
        self.linux.setdefault("resources", {}).update(controllers)
        return self

    def hook(self, kind: str, path: Path | str, *args: str, **fields: Any) -> Bundle:
        """Append one hook; args are argv[1:], fields are env and timeout."""
        entry: dict[str, Any] = {"path": str(path), **fields}
        if args:
            entry["args"] = [os.path.basename(str(path)), *args]
        self.config.setdefault("hooks", {}).setdefault(kind, []).append(entry)
        return self

    def save(self) -> Bundle:
        (self.path / "config.json").write_text(json.dumps(self.config, indent=1))
        return self

    def process_file(self, name: str, **changes: Any) -> Path:
        """Write a --process file: the bundle's process with changes; its path."""
        process = copy.deepcopy(self.process)
        process.update(changes)
        path = self.path / name
        path.write_text(json.dumps(process))
        return path

    def remove(self) -> None:
        shutil.rmtree(self.path)
