"""The portable launcher's source of modules, ocirt.pack.  It is compiled into the pack itself, beside loader.py; the
launcher executes both with two names: pack (the open file's descriptor, close-on-exec) and contents.
"""

from __future__ import annotations

import sys
from marshal import loads
from posix import pread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

    from ocirt.launcher.loader import Modules

    pack: int
    # A module's name -> start and size of its bundle in the pack, and whose code is in it; and what Modules takes.
    contents: tuple[
        dict[str, tuple[int, int, tuple[str, ...]]], dict[str, tuple[str, ...]], dict[str, str], dict[str, str]
    ]

index, order, packages, extensions = contents
codes: dict[str, CodeType] = {}  # read, and not yet all executed


def code_of(name: str) -> CodeType | None:
    if name not in codes:
        if name not in index:
            return None
        start, size, names = index[name]
        codes.update(zip(names, loads(pread(pack, size, start)), strict=True))
    return codes[name]


sys.meta_path.insert(0, Modules(code_of, order, packages, extensions))
