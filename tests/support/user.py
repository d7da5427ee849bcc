"""A user other than root, with or without ranges in /etc/subuid and /etc/subgid.

The accounts are of the tests' own mount namespace: copies of the files in /etc are mounted over the host's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.bundles import Bundle
from tests.support.host import token
from tests.support.runtime import CHECKOUT, LAUNCHER, Runtime

NAME, UID, GID = "ocirt-e2e", 4200, 4201
FIRST, COUNT = 520000, 65536  # the user's ranges
FILES = ("passwd", "group", "subuid", "subgid")
# crun 1.8 refuses a v2 hierarchy beside v1, see support/runtime.py.
WITHOUT_V2 = """exec unshare -m --propagation unchanged sh -c \\
    'mount --make-rslave / && umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"' sh"""


class User:
    """home: a directory of the user's, with XDG_RUNTIME_DIR in it.  etc: the files in place of the host's."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.etc = home / "etc"
        self.runtime_dir = home / "run"
        home.chmod(0o711)
        for directory in (self.etc, self.runtime_dir):
            directory.mkdir()
        self.runtime_dir.chmod(0o700)
        for path in (home, self.runtime_dir):
            os.chown(path, UID, GID)

    def prefix(self, **environment: str) -> list[str]:
        """Words before a command that make it the user's."""
        values = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "USER": NAME,
            "XDG_RUNTIME_DIR": str(self.runtime_dir),
            **environment,
        }
        ids = ["--reuid", str(UID), "--regid", str(GID), "--clear-groups", "--inh-caps=-all"]
        return ["setpriv", *ids, "env", "-i", *(f"{name}={value}" for name, value in values.items())]

    def give_ranges(self, given: bool) -> None:
        for name in ("subuid", "subgid"):
            (self.etc / name).write_text(f"{NAME}:{FIRST}:{COUNT}\n" if given else "")

    def bundle(self, bundle: Bundle, *, ranges: bool = False) -> Bundle:
        """Make the bundle the user's: its files, and a user namespace with one id or with all that the user has."""
        bundle.user_namespace(UID, 1)
        for which, own in (("uidMappings", UID), ("gidMappings", GID)):
            lines = [{"containerID": 0, "hostID": own, "size": 1}]
            bundle.linux[which] = lines + ([{"containerID": 1, "hostID": FIRST, "size": COUNT}] if ranges else [])
        for mount in bundle.mounts:
            mount["options"] = [option for option in mount.get("options", ()) if ranges or option != "gid=5"]
        os.chown(bundle.path, UID, GID)
        return bundle


@contextmanager
def user_of_the_tests() -> Iterator[User]:
    """The user, in the tests' own mount namespace."""
    with tempfile.TemporaryDirectory(prefix=token()) as name:
        user = User(Path(name))
        for file in FILES:
            original = Path("/etc", file)
            (user.etc / file).write_text(original.read_text() if original.exists() else "")
        with (user.etc / "passwd").open("a") as passwd, (user.etc / "group").open("a") as group:
            passwd.write(f"{NAME}:x:{UID}:{GID}::{user.home}:/bin/sh\n")
            group.write(f"{NAME}:x:{GID}:\n")
        user.give_ranges(True)
        mounted: list[Path] = []
        try:
            for file in FILES:
                subprocess.run(["mount", "--bind", user.etc / file, f"/etc/{file}"], check=True, timeout=30)
                mounted.append(Path("/etc", file))
            yield user
        finally:
            for path in mounted:
                subprocess.run(["umount", path], check=True, timeout=30)


class UserRuntime(Runtime):
    """The runtime under test as the user starts it; its state is where it is without --root."""

    def __init__(self, directory: Path, user: User, **environment: str) -> None:
        self.user = user
        self.environment = environment
        super().__init__(directory)
        self.root = user.runtime_dir / self.name

    def _command(self) -> str:
        inner = super()._command()
        hidden = f"{WITHOUT_V2} " if self.name == "crun" else "exec "
        if self.name == "crun":
            inner = "crun"
        elif self.name == "ocirt" and not os.environ.get("OCIRT_RUNTIME"):
            inner = str(own_copy(self.user))
        words = " ".join(f"'{word}'" for word in self.user.prefix(**self.environment))
        path = self.directory / f"{self.name}-as-user"
        path.write_text(f'#!/bin/sh\n{hidden}{words} {inner} "$@"\n')
        path.chmod(0o755)
        return str(path)

    def arguments(self, *args: str, options: tuple[str, ...] = ()) -> list[str]:
        return [self.command, *options, *args]


def own_copy(user: User) -> Path:
    """ocirt of the checkout where the user can read it; its launcher."""
    launcher = user.home / "ocirt"
    if not launcher.exists():
        shutil.copytree(CHECKOUT / "ocirt", user.home / "lib/ocirt")
        launcher.write_text(LAUNCHER.format(checkout=str(user.home / "lib")))
        launcher.chmod(0o755)
    return launcher
