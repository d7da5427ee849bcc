"""Memory that processes share: mmap(2).  Apart from the other calls, for the module that few commands need."""

from __future__ import annotations

import sys

if "_ocirt" in sys.builtin_module_names:
    from _ocirt import map_shared as map_shared  # type: ignore[import-not-found]  # part of the native launcher
else:
    import mmap

    def map_shared(fd: int, size: int, writable: bool) -> memoryview:
        """That many bytes of a file, or with -1 of none, which the caller shares with its children; they stay mapped.

        size: not 0.  Raises OSError.
        """
        return memoryview(mmap.mmap(fd, size, prot=mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)))
