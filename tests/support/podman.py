"""podman with storage of its own and an image made of busybox; cgroups by cgroupfs, no network."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

IMAGE = "localhost/busybox:test"
BOUND = 240  # seconds; the guest is emulated
# Debian's podman asks for more than a host may allow.
OPTIONS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")


class Podman:
    """directory: for its storage and state, the caller's own.  before: words that make a command the caller's."""

    def __init__(self, directory: Path, runtime: str, before: tuple[str, ...] = ()) -> None:
        self.before = before
        self.storage = directory / "storage"
        self.words = [*before, "podman", "--root", str(self.storage), "--runroot", str(directory / "runroot")]
        self.words += ["--tmpdir", str(directory / "tmp"), "--storage-driver", "vfs", "--events-backend", "file"]
        self.words += ["--cgroup-manager", "cgroupfs", "--runtime", runtime]

    def __call__(self, *args: str, code: int = 0) -> str:
        """Standard output of one command, which must end with the code."""
        # In a directory that the user may enter: the checkout may be closed to others.
        call = [*self.words, *args]
        done = subprocess.run(call, cwd="/", capture_output=True, text=True, timeout=BOUND, check=False)
        assert done.returncode == code, (args, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def run(self, *args: str, code: int = 0, network: str = "none") -> str:
        """Run a container to its end.  args: options, then IMAGE and the command.  A network needs /dev/net/tun."""
        return self("run", "--rm", "--network", network, *OPTIONS, *args, code=code)

    def launch(self, name: str, *args: str) -> None:
        self("run", "--detach", "--name", name, "--network", "none", *OPTIONS, *args)

    def state(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("inspect", name))[0]["State"]
        return found

    def make_image(self, archive: Path) -> None:
        with tarfile.open(archive, "w") as tar:
            tar.add("/bin/busybox", "bin/busybox")
            for name in ("sh", "cat", "id", "sleep", "echo", "touch", "tty", "grep", "stat"):
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
        archive.chmod(0o644)
        self("import", "--quiet", str(archive), IMAGE)

    def close(self) -> None:
        """Remove the containers and the storage, whose files belong to subordinate ids; end the process that waits."""
        self("rm", "--all", "--force", "--time", "0")
        self("unshare", "rm", "-rf", str(self.storage))
        self("system", "migrate")
