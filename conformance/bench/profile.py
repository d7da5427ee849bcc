"""Find what a container's life writes to, and keep it in ocirt/launcher/profile.txt, from which the native launcher is
laid out (ocirt/launcher/placement.py).  Run as root by `make profile`:

    python3 -I -X no_debug_ranges conformance/bench/profile.py DIRECTORY [PROFILE]

DIRECTORY holds the installed package `ocirt`.  A launcher is built in which every block of memory has pages of its own;
the containers of the benchmarks are taken through all commands; and the kernel says which pages were read and which
were copied on write (proc_pid_pagemap(5)).
"""

from __future__ import annotations

import json
import mmap
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TREE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TREE))

from ocirt.launcher import native, placement, write  # noqa: E402

TRAINING = ("-DTRAINING", "-Wl,--wrap=_exit")
PAGE, LARGE_PAGE, MEMORY, REPORTS = 4096, 2 << 20, 1200 << 20, 32  # as in image.c and training.c
REPORT = MEMORY // PAGE * 8
PRESENT, OF_FILE, EXCLUSIVE = 1 << 63, 1 << 61, 1 << 56  # of proc_pid_pagemap(5)
QUIET: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
CONTAINER = "profile"
WAITS, ENDS, FILTERED = "waits", "ends", "filtered"  # containers; the last one with docker's seccomp profile
COMMANDS = (
    ("create", "--bundle", WAITS, "--pid-file", "pid", CONTAINER),
    ("state", CONTAINER),
    ("start", CONTAINER),
    ("exec", CONTAINER, "/bin/busybox", "true"),
    ("kill", CONTAINER, "KILL"),
    ("delete", "--force", CONTAINER),
    ("run", "--bundle", ENDS, CONTAINER),
    ("run", "--bundle", FILTERED, CONTAINER),
)


def main(directory: str, profile: str = str(placement.PROFILE)) -> None:
    package = Path(directory, "ocirt")
    trees, _ = native.code(write.read_sources(package, native.LEFT_OUT), directory)
    names = native.owners(trees)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        native.build(native.boot(package, directory, ""), work / "built", *TRAINING)
        copy_by_pages(work / "built", work / "ocirt")
        for name in (WAITS, ENDS, FILTERED):
            make_bundle(work / name, name)
        users = trained(work)
        blocks = blocks_of(work / "ocirt", users)
    digests = native.digests(trees)
    owners = {
        name: placement.Owner(digests[name], tuple(sorted(blocks[number])))
        for name, number in names.items()
        if number in blocks
    }
    Path(profile).write_text(placement.write(owners))
    print(f"{sum(len(owner.blocks) for owner in owners.values())} blocks of {len(owners)} modules")


def copy_by_pages(source: Path, target: Path) -> None:
    """What is written at once the kernel may keep, and map, in pages of 2 MiB."""
    with source.open("rb") as content, target.open("wb", buffering=0) as copy:
        while page := content.read(PAGE):
            copy.write(page)
    target.chmod(0o755)


def make_bundle(bundle: Path, name: str) -> None:
    (bundle / "rootfs/bin").mkdir(parents=True)
    shutil.copy2(shutil.which("busybox") or sys.exit("busybox-static is missing"), bundle / "rootfs/bin/busybox")
    config: dict[str, Any] = json.loads((TREE / "conformance/bench/config.json").read_text())
    config["process"]["args"] = ["/bin/busybox", *(["sleep", "600"] if name == WAITS else ["true"])]
    if name == FILTERED:
        config["linux"]["seccomp"] = json.loads((TREE / "tests/configs/seccomp/docker-default.json").read_text())
    (bundle / "config.json").write_text(json.dumps(config, indent=2))


def trained(work: Path) -> tuple[int, dict[int, tuple[int, int]]]:
    """The address of the launcher's memory; and by number the pages of it that were used, with the processes that wrote
    to them and those that only read, as bits.

    A process has two bits.  The second is that of pages which it shares with no other: what a runtime and its init have
    both from before the clone is told from what one of them wrote to afterwards, which is copied once more.
    """
    file = work / "reports"
    with file.open("w+b") as reports:
        reports.truncate(PAGE + REPORTS * REPORT)
        for command in COMMANDS:
            words = [work / "ocirt", "--root", work / "state", *command]
            subprocess.run(words, cwd=work, env={"OCIRT_TRAINING": str(file)}, check=True, **QUIET)
        with mmap.mmap(reports.fileno(), 0) as content:
            count, memory = struct.unpack_from("QQ", content)
            users: dict[int, tuple[int, int]] = {}
            for number in range(count):
                start = PAGE + number * REPORT
                for page, (entry,) in enumerate(struct.iter_unpack("Q", content[start : start + REPORT])):
                    if entry & PRESENT:
                        writers, readers = users.get(page, (0, 0))
                        if entry & OF_FILE:
                            readers |= 1 << 2 * number
                        else:
                            writers |= (3 if entry & EXCLUSIVE else 1) << 2 * number
                        users[page] = writers, readers
    return memory, users


def blocks_of(launcher: Path, trained: tuple[int, dict[int, tuple[int, int]]]) -> dict[int, list[placement.Block]]:
    """The blocks that were used by their owner's number."""
    memory, users = trained
    image = launcher.read_bytes()
    _, offset, start = native.data_segment(image)
    blocks: dict[int, list[placement.Block]] = {}
    page = -memory % LARGE_PAGE // PAGE  # where what has no place begins
    at = offset + memory + page * PAGE - start
    while at + placement.HEADER <= len(image):
        size, owner, index = struct.unpack_from("QII", image, at)
        pages = -(-(placement.HEADER + size) // PAGE)
        writers = readers = 0
        for number in range(page, page + pages):
            writers |= users.get(number, (0, 0))[0]
            readers |= users.get(number, (0, 0))[1]
        if writers or (readers and pages == 1):
            blocks.setdefault(owner, []).append(placement.Block(index, size, writers, readers))
        page += pages
        at += pages * PAGE
    return blocks


if __name__ == "__main__":
    os.umask(0o022)
    main(*sys.argv[1:])
