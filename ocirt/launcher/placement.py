"""Where the native launcher keeps what a start uses of its image: close together, for memory comes in pages.

The interpreter notes something on nearly every object that it uses, and a page that is written to is copied as a whole.
Left where the imports put them, the 4500 blocks that a container's life writes to would lie on 1300 pages.  Which they
are is in profile.txt, which `make profile` writes: the modules' names, and of each what of the memory taken for it is
used.  It says so of a module as it was then; what has changed since has no place of its own, which costs time and
nothing else.
"""

from __future__ import annotations

import ast
import hashlib
import re
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PAGE = 4096  # of a larger block little is used
HERE = Path(__file__).resolve().parent
PROFILE = HERE / "profile.txt"
CORE = "python"  # the owner of what is there before the first module: number 0
HEADER = 16  # bytes of struct block of image.c
MANY = 3  # a block has many writers if these, taken so often, are as many as those of the most written one
ABOUT = """\
# Written by `make profile`: which blocks of memory a container's life uses, see placement.py.
# Of each module the digest of its code; then of each block its number in the order of allocation, its size in bytes,
# and the trained processes that write to it, and those that only read it, with two bits each; all in hexadecimal.
"""


class Block(NamedTuple):
    """number: which of its owner's.  size: of its content, in bytes.  writers, readers: two bits for each process."""

    number: int
    size: int
    writers: int
    readers: int


class Owner(NamedTuple):
    digest: str
    blocks: tuple[Block, ...]


def digest(tree: ast.Module) -> str:
    """What decides which memory a stripped module takes, and in which order."""
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


def digest_of_core() -> str:
    boot = ast.parse((HERE / "boot.py").read_bytes())
    return hashlib.sha256(f"{sys.version}\n{ast.dump(boot)}".encode()).hexdigest()[:16]


def read(text: str) -> dict[str, Owner]:
    """The owners of a profile by name."""
    owners: dict[str, Owner] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("  "):
            blocks = [Block(*(int(number, 16) for number in word.split(":"))) for word in line.split()]
            owners[name] = owners[name]._replace(blocks=(*owners[name].blocks, *blocks))
        elif not line.startswith("#"):
            name, digest = line.split()
            owners[name] = Owner(digest, ())
    return owners


def write(owners: Mapping[str, Owner]) -> str:
    lines = [ABOUT]
    for name, owner in owners.items():
        words = " ".join(":".join(f"{number:x}" for number in block) for block in owner.blocks)
        lines.append(f"{name} {owner.digest}\n" + re.sub(r"(.{1,116})(?: |$)", r"  \1\n", words))
    return "".join(lines)


def places(owners: Mapping[str, Owner], digests: Mapping[str, str], numbers: Mapping[str, int]) -> bytes:
    """What image.c reads before anything else: the size of all places, their count, the size of those at the beginning
    that most commands write to, and the places.

    digests, numbers: of the owners as they are.
    """
    wanted = sorted(
        (order(block), numbers[name], block)
        for name, owner in owners.items()
        if digests.get(name) == owner.digest
        for block in owner.blocks
    )
    most = max((block.writers.bit_count() for _, _, block in wanted), default=0)
    end = written = 0
    made = []
    for _, owner, block in wanted:
        made.append((owner, block.number, block.size, end))
        end += HEADER + block.size
        if block.size <= PAGE and block.writers.bit_count() * MANY >= most:
            written = end
    return struct.pack("QQQ", end, len(made), written) + b"".join(struct.pack("4I", *place) for place in sorted(made))


def order(block: Block) -> tuple[bool, bool, int, int, int, int]:
    """What is written to comes first, then what is only read; and blocks that the same processes use, at the same time,
    lie together, those of most processes first."""
    writers, readers = block.writers, block.readers
    return not writers, block.size > PAGE, -writers.bit_count(), writers, -readers.bit_count(), readers


def stale(owners: Mapping[str, Owner], digests: Mapping[str, str]) -> Iterable[str]:
    """The owners that are no longer as they were."""
    return [name for name, owner in owners.items() if digests.get(name) != owner.digest]
