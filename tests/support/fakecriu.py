#!/usr/bin/python3
"""A criu that only plays a part, for machines whose kernel CRIU does not know; installed as `criu` by a test.

What it plays stands in the file `part` beside it, JSON: {"then": "refuse"|"die"|"wait"|"dump", "notify": [...]}.
What it was asked, and what it saw around it, it writes to `seen`.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, (HERE / "checkout").read_text())

from ocirt.criu import wire  # noqa: E402


def main() -> None:
    if sys.argv[1] == "check":
        return
    assert sys.argv[1] == "swrk"
    sock = socket.socket(fileno=int(sys.argv[2]))
    request = sock.recv(1 << 20)
    if not request:  # the other side has left already
        return
    asked = wire.decode("criu_req", request)
    kind = asked["type"]
    if kind == wire.VERSION:
        answer(sock, kind, version={"major_number": 3, "minor_number": 17})
    elif kind == wire.FEATURE_CHECK:
        answer(sock, kind, features={"mem_track": True, "lazy_pages": False})
    else:
        play(sock, kind, asked["opts"], json.loads((HERE / "part").read_text()))


def play(sock: socket.socket, kind: int, opts: dict[str, Any], part: dict[str, Any]) -> None:
    see(kind, opts)
    for script in part.get("notify", ()):
        answer(sock, wire.NOTIFY, notify={"script": script, "pid": os.getpid()})
        if not sock.recv(1 << 16):
            sys.exit(1)
    if part["then"] == "refuse":
        message = "Error (criu/fake.c:1): I do not want to\n"
        folder = opts.get("work_dir_fd", opts["images_dir_fd"])
        Path(f"/proc/{os.getppid()}/fd/{folder}/{opts['log_file']}").write_text(f"(0.1) {message}(0.2) last words\n")
        answer(sock, kind, False, cr_errno=3, cr_errmsg=message)
    elif part["then"] == "die":
        os.abort()
    elif part["then"] == "dump":
        answer(sock, kind, dump={"restored": False})
    sock.recv(1 << 16)  # until the other side leaves


def see(kind: int, opts: dict[str, Any]) -> None:
    root = opts.get("root", "")
    yard = opts.get("cgroup_yard", "")
    seen = {
        "kind": kind,
        "opts": opts,
        "root": sorted(str(path.relative_to(root)) for path in Path(root).rglob("*")) if kind == wire.RESTORE else [],
        "yard": {name: hierarchy(f"{yard}/{name}") for name in os.listdir(yard)} if yard else {},
        "images": modes(f"/proc/{os.getppid()}/fd/{opts['images_dir_fd']}"),
        "mounts": [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()],
        "cgroup": Path("/proc/self/cgroup").read_text(),
        "environment": dict(os.environ),
        "descriptors": sorted(int(fd) for fd in os.listdir("/proc/self/fd")),
    }
    temporary = HERE / "seen.new"
    temporary.write_text(json.dumps(seen))
    temporary.rename(HERE / "seen")


def hierarchy(path: str) -> str | list[int]:
    """Where a link leads; what else is there by device and inode."""
    if os.path.islink(path):
        return os.readlink(path)
    found = os.stat(path)
    return [found.st_dev, found.st_ino]


def modes(directory: str) -> dict[str, int]:
    """Of the directory, as ".", and of what is in it."""
    return {name: os.stat(f"{directory}/{name}").st_mode & 0o777 for name in (".", *os.listdir(directory))}


def answer(sock: socket.socket, kind: int, success: bool = True, **fields: Any) -> None:
    sock.send(wire.encode("criu_resp", {"type": kind, "success": success, **fields}))


if __name__ == "__main__":
    main()
