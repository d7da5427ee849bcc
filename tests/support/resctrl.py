"""A resctrl file system for tests, for kernels that have none: served by FUSE from this process, with its rules.

Which are, by Documentation/filesystems/resctrl.rst and fs/resctrl: a group appears with its files, a task is in one
group, schemata are taken whole or refused with a reason in info/last_cmd_status, and rmdir needs no empty group.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ocirt.kernel import live
from ocirt.kernel.flags import MNT_DETACH
from tests.support.host import alive

# <linux/fuse.h>
LOOKUP, FORGET, GETATTR, SETATTR, MKDIR, RMDIR, OPEN, READ, WRITE = 1, 2, 3, 4, 9, 11, 14, 15, 16
STATFS, RELEASE, FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, ACCESS = 17, 18, 25, 26, 27, 28, 29, 34
INTERRUPT, BATCH_FORGET = 36, 42
NO_ANSWER = (FORGET, BATCH_FORGET, INTERRUPT)
FOPEN_DIRECT_IO = 1
_IN = struct.Struct("=IIQQIIII")  # struct fuse_in_header
_OUT = struct.Struct("=IiQ")  # struct fuse_out_header

MASK, WAYS = "7ff", 2  # of the level 3 caches
STEP, LEAST = 10, 10  # of the bandwidth, in percent
GROUPS = 6  # the root's included
MONITORS = 8


class Refused(Exception):
    """errno, and what info/last_cmd_status says then."""

    def __init__(self, number: int, says: str = "") -> None:
        super().__init__(says)
        self.number = number
        self.says = says


class FakeResctrl:
    """files: path -> content; directories: paths; both relative, "" is the root.  writes: (path, text) as they came."""

    def __init__(self, point: Path) -> None:
        self.point = point
        self.files: dict[str, str] = {}
        self.directories: set[str] = {""}
        self.writes: list[tuple[str, str]] = []
        self.kernel_refuses_write = ""  # a path
        self._numbers: dict[str, int] = {"": 1}
        self._paths: dict[int, str] = {1: ""}
        for directory in ("info", "info/L3", "info/MB", "info/L3_MON"):
            self.directories.add(directory)
        self.files |= {
            "info/last_cmd_status": "ok\n",
            "info/L3/cbm_mask": f"{MASK}\n",
            "info/L3/min_cbm_bits": "1\n",
            "info/L3/num_closids": f"{GROUPS}\n",
            "info/MB/bandwidth_gran": f"{STEP}\n",
            "info/MB/delay_linear": "1\n",
            "info/MB/min_bandwidth": f"{LEAST}\n",
            "info/MB/num_closids": f"{GROUPS}\n",
            "info/L3_MON/mon_features": "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n",
        }
        self._make_group("")

    # -- what the kernel does ----------------------------------------------------------------------

    def _make_group(self, path: str, monitor: bool = False) -> None:
        prefix = f"{path}/" if path else ""
        self.directories |= {path, f"{prefix}mon_data"}
        self.files[f"{prefix}tasks"] = ""
        for cache in range(WAYS):
            domain = f"{prefix}mon_data/mon_L3_{cache:02}"
            self.directories.add(domain)
            self.files |= {
                f"{domain}/llc_occupancy": f"{1000 + cache}\n",
                f"{domain}/mbm_total_bytes": f"{2000 + cache}\n",
                f"{domain}/mbm_local_bytes": "Unavailable\n" if cache else "3000\n",
            }
        if not monitor:
            self.directories.add(f"{prefix}mon_groups")
            self.files[f"{prefix}schemata"] = f"    MB:0=100;1=100\n    L3:0={MASK};1={MASK}\n"

    def groups(self) -> set[str]:
        """Paths of all groups but the root's: "name", "name/mon_groups/counting", "mon_groups/counting"."""
        return {path for path in self.directories if f"{path}/tasks" in self.files}

    def tasks(self, path: str) -> list[int]:
        """The processes of a group that have not ended."""
        text = self.files[f"{path}/tasks" if path else "tasks"]
        return [int(line) for line in text.split() if alive(int(line))]

    def _mkdir(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        is_monitor = parent == "mon_groups" or parent.endswith("/mon_groups")
        if path in self.directories or path in self.files:
            raise Refused(errno.EEXIST)
        if not is_monitor and parent:
            raise Refused(errno.EPERM)
        same = [group for group in self.groups() if ("mon_groups/" in group) == is_monitor]
        if len(same) >= (MONITORS if is_monitor else GROUPS - 1):
            raise Refused(errno.ENOSPC, "Out of RMIDs" if is_monitor else "Out of CLOSIDs")
        self._make_group(path, is_monitor)

    def _rmdir(self, path: str) -> None:
        if path not in self.groups() or not path:
            raise Refused(errno.EPERM)
        if "mon_groups/" not in path:  # what was counted is in the group above all the time
            self.files["tasks"] += "".join(f"{pid}\n" for pid in self.tasks(path))
        for name in [name for name in self.files if name.startswith(f"{path}/")]:
            del self.files[name]
        self.directories = {name for name in self.directories if name != path and not name.startswith(f"{path}/")}

    def _write(self, path: str, text: str) -> None:
        self.writes.append((path, text))
        if path == self.kernel_refuses_write:
            raise Refused(errno.EINVAL, "the test refuses it")
        if path.endswith("tasks"):
            self._join(path.removesuffix("tasks").rstrip("/"), text)
        elif path.endswith("schemata"):
            self.files[path] = self._changed(self.files[path], text)
        else:
            raise Refused(errno.EACCES)

    def _join(self, path: str, text: str) -> None:
        """A counting group counts tasks of the group it is in; who moves to another group is counted there."""
        pid = int(text)
        if not alive(pid):
            raise Refused(errno.ESRCH, f"No task {pid}")
        is_monitor = "mon_groups/" in path
        if is_monitor and pid not in self.tasks(path.rpartition("mon_groups/")[0].rstrip("/")):
            raise Refused(errno.EINVAL, "Can't move task to different control group")
        for name in [name for name in self.files if name.endswith("tasks")]:
            if not is_monitor or "mon_groups/" in name:
                self.files[name] = "".join(f"{one}\n" for one in self.files[name].split() if one != text)
        self.files[f"{path}/tasks" if path else "tasks"] += f"{pid}\n"

    @staticmethod
    def _changed(before: str, text: str) -> str:
        """rdtgroup_schemata_write(): all lines are read before one counts."""
        if not text.endswith("\n"):
            raise Refused(errno.EINVAL)
        have = {line.strip().partition(":")[0]: line.strip().partition(":")[2] for line in before.splitlines()}
        values = {name: dict(one.split("=") for one in have[name].split(";")) for name in have}
        seen = set()
        for line in text.splitlines():
            resource, _, domains = line.strip().partition(":")
            if resource not in values:
                raise Refused(errno.EINVAL, f"Unknown or unsupported resource name '{resource}'")
            for domain in domains.split(";"):
                number, _, value = domain.strip().partition("=")
                number = str(int(number))
                if (resource, number) in seen:
                    raise Refused(errno.EINVAL, f"Duplicate domain {number}")
                seen.add((resource, number))
                values[resource][number] = _checked(resource, value)
        lines = (f"    {name}:" + ";".join(f"{k}={v}" for k, v in values[name].items()) for name in values)
        return "\n".join(lines) + "\n"

    # -- FUSE --------------------------------------------------------------------------------------

    def serve(self, fd: int, end: int) -> None:
        """Answer what comes from fd, until something comes from end: a mount namespace that is on its way out may keep
        the file system alive after it is unmounted."""
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.register(end, select.POLLIN)
        while end not in dict(poll.poll()):
            try:
                request = os.read(fd, 1 << 17)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOENT, errno.EAGAIN):
                    continue
                return
            _, kind, unique, node, _, _, _, _ = _IN.unpack_from(request)
            if kind in NO_ANSWER:
                continue
            try:
                number, body = 0, self._answer(kind, node, request[_IN.size :])
                if kind in (WRITE, MKDIR, RMDIR):
                    self.files["info/last_cmd_status"] = "ok\n"
            except Refused as refusal:
                number, body = refusal.number, b""
                if kind in (WRITE, MKDIR, RMDIR):
                    self.files["info/last_cmd_status"] = f"{refusal.says}\n"
            os.write(fd, _OUT.pack(_OUT.size + len(body), -number, unique) + body)

    def _answer(self, kind: int, node: int, body: bytes) -> bytes:
        path = self._paths.get(node, "")
        if kind == INIT:
            return struct.pack("=IIIIHHIIHHI28x", 7, 31, 0, 0, 1, 1, 1 << 16, 1, 0, 0, 0)
        if kind in (LOOKUP, MKDIR, RMDIR):
            name = body[8 if kind == MKDIR else 0 :].rstrip(b"\0").decode()
            child = f"{path}/{name}" if path else name
            if kind == RMDIR:
                self._rmdir(child)
                return b""
            if kind == MKDIR:
                self._mkdir(child)
            return self._entry(child)
        if kind in (GETATTR, SETATTR):
            return struct.pack("=QII", 0, 0, 0) + self._attributes(path)
        if kind in (OPEN, OPENDIR):
            return struct.pack("=QII", 0, FOPEN_DIRECT_IO if kind == OPEN else 0, 0)
        if kind == READ:
            offset, size = struct.unpack_from("=8xQI", body)
            return self._content(path)[offset : offset + size]
        if kind == WRITE:
            (size,) = struct.unpack_from("=16xI", body)
            self._write(path, body[40 : 40 + size].decode())
            return struct.pack("=II", size, 0)
        if kind == READDIR:
            offset, size = struct.unpack_from("=8xQI", body)
            return self._list(path, offset, size)
        if kind in (FLUSH, RELEASE, RELEASEDIR, ACCESS):
            return b""
        if kind == STATFS:
            return struct.pack("=QQQQQIIII24x", 0, 0, 0, 0, 0, 4096, 255, 4096, 0)
        raise Refused(errno.ENOSYS)

    def _content(self, path: str) -> bytes:
        if path not in self.files:
            raise Refused(errno.ENODEV)
        if path.endswith("tasks"):
            return "".join(f"{pid}\n" for pid in self.tasks(path.removesuffix("tasks").rstrip("/"))).encode()
        return self.files[path].encode()

    def _entry(self, path: str) -> bytes:
        if path not in self.files and path not in self.directories:
            raise Refused(errno.ENOENT)
        number = self._numbers.setdefault(path, len(self._numbers) + 1)
        self._paths[number] = path
        return struct.pack("=QQQQII", number, 0, 0, 0, 0, 0) + self._attributes(path)

    def _attributes(self, path: str) -> bytes:
        if path not in self.files and path not in self.directories:
            raise Refused(errno.ENOENT)
        number = self._numbers[path]
        mode = stat.S_IFDIR | 0o755 if path in self.directories else stat.S_IFREG | 0o644
        return struct.pack("=QQQQQQ3I7I", number, 0, 0, 0, 0, 0, 0, 0, 0, mode, 2, 0, 0, 0, 4096, 0)

    def _list(self, path: str, offset: int, size: int) -> bytes:
        prefix = f"{path}/" if path else ""
        names = sorted(
            name.removeprefix(prefix)
            for name in {*self.files, *self.directories}
            if name and name.startswith(prefix) and "/" not in name.removeprefix(prefix) and name != path
        )
        data = b""
        for at, name in enumerate(names[offset:], offset + 1):
            kind = stat.S_IFDIR if prefix + name in self.directories else stat.S_IFREG
            entry = struct.pack("=QQII", at, at, len(name), kind >> 12) + name.encode()
            entry += bytes(-len(entry) % 8)
            if len(data) + len(entry) > size:
                break
            data += entry
        return data


def _checked(resource: str, value: str) -> str:
    if resource == "MB":
        if not value.isdigit() or not LEAST <= int(value) <= 100:
            raise Refused(errno.EINVAL, f"MB value {value} out of range [{LEAST},100]")
        return str(-(-int(value) // STEP) * STEP)
    bits = int(value, 16)
    if not 0 < bits <= int(MASK, 16) or "01" in bin(bits)[2:]:
        raise Refused(errno.EINVAL, f"The mask {value} has non-consecutive 1-bits")
    return f"{bits:x}"


@contextmanager
def mounted(point: Path) -> Iterator[FakeResctrl]:
    """The file system on a directory, in the caller's mount namespace."""
    point.mkdir()
    fake = FakeResctrl(point)
    fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    end = os.eventfd(0)
    live.mount("resctrl", str(point), "fuse", 0, f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other")
    thread = threading.Thread(target=fake.serve, args=(fd, end), daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        live.umount2(str(point), MNT_DETACH)
        os.eventfd_write(end, 1)
        thread.join()
        os.close(fd)  # nobody answers from now on, and the kernel knows
        os.close(end)
