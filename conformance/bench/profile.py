"""Find what a container's life writes to, and keep it in ocirt/launcher/profile.txt, from which the native launcher is
laid out (ocirt/launcher/placement.py).  Run as root by `make profile`:

    python3 -I -X no_debug_ranges conformance/bench/profile.py DIRECTORY [PROFILE]

DIRECTORY holds the installed package `ocirt`.  A launcher is built in which every block of memory has pages of its own;
the containers of the benchmarks are taken through all commands; and the kernel says which pages were read and which
were copied on write (proc_pid_pagemap(5)).
"""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]

import bundles  # noqa: E402

from ocirt.launcher import native, placement, write  # noqa: E402
from ocirt.launcher.placement import PAGE  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGE_PAGE = 2 << 20  # as in image.c
MEMORY, REPORTS = 1200 << 20, 32  # bytes for all blocks, each on pages of its own; processes that report
TRAINING = ("-DTRAINING", f"-DMEMORY={MEMORY}", f"-DREPORTS={REPORTS}", "-Wl,--wrap=_exit")
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
        bundles.make_bundle(work / WAITS, ["sleep", "600"])
        bundles.make_bundle(work / ENDS, ["true"])
        bundles.make_bundle(work / FILTERED, ["true"], bundles.add_seccomp)
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


def trained(work: Path) -> tuple[int, dict[int, tuple[int, int]]]:
    """The address of the launcher's memory; and by number the pages of it that were used, with the processes that wrote
    to them and those that only read, as bits.

    A process has two bits.  The second is that of pages which it shares with no other: what a runtime and its init have
    both from before the clone is told from what one of them wrote to afterwards, which is copied once more.
    """
    file = work / "reports"
    with file.open("w+b") as reports:
        reports.truncate(PAGE + REPORTS * REPORT)
        try:
            for command in COMMANDS:
                ocirt(work, command, {"OCIRT_TRAINING": str(file)})
        except subprocess.CalledProcessError:  # its cgroups, left there, would be others than those of the next time
            ocirt(work, ("delete", "--force", CONTAINER), {})
            raise
        with mmap.mmap(reports.fileno(), 0) as content:
            count, memory = struct.unpack_from("QQ", content)
            users: dict[int, tuple[int, int]] = {}
            for number in range(count):
                start = PAGE + number * REPORT
                for page, writer, reader in used_pages(content[start : start + REPORT]):
                    writers, readers = users.get(page, (0, 0))
                    users[page] = writers | writer << 2 * number, readers | reader << 2 * number
    return memory, users


def ocirt(work: Path, command: tuple[str, ...], environment: dict[str, str]) -> None:
    words = [str(work / "ocirt"), "--root", str(work / "state"), *command]
    subprocess.run(words, cwd=work, env=environment, check=True, **QUIET)


def used_pages(report: bytes) -> Iterator[tuple[int, int, int]]:
    """The number of each page, and the process's bits as one that wrote to it and as one that read it."""
    for page, (entry,) in enumerate(struct.iter_unpack("Q", report)):
        if entry & PRESENT and entry & OF_FILE:
            yield page, 0, 1
        elif entry & PRESENT:
            yield page, 3 if entry & EXCLUSIVE else 1, 0


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
