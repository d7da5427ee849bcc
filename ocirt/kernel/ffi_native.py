"""What ffi.py needs, out of the native launcher (launcher/native.c): nothing is loaded or made at each start."""

from __future__ import annotations

from _struct import Struct  # built in; the public module is a file

from _ocirt import address_of as address_of  # type: ignore[import-not-found]  # part of the launcher
from _ocirt import call as call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Memory(bytearray):
    """Memory the kernel may write to; keeps its size, and so its place."""

    __slots__ = ()

    @property
    def raw(self) -> bytes:
        return bytes(self)


class Strings(bytes):
    """char *[] ending in NULL; keeps the strings alive."""

    strings: Sequence[bytes]


def string_array(strings: Sequence[bytes]) -> Strings:
    array = Strings(Struct(f"={len(strings) + 1}Q").pack(*map(address_of, strings), 0))
    array.strings = strings
    return array
