"""The seam to the kernel: one function, syscall().

Three backends do the same; the tests hold them to it.  In the native launcher it is ffi_native.py.  Elsewhere it is
_ctypes (ffi_private.py), and the public ctypes for a Python where that is another one.  Every argument travels as
64 bits: ctypes' own default is a C int, which cuts 2**32 down to 0, and uid 0 is root.
"""

from __future__ import annotations

import sys

from ocirt import system as os
from ocirt.errors import KernelError

if "_ocirt" in sys.builtin_module_names:
    from ocirt.kernel import ffi_native as _backend
else:
    try:
        from ocirt.kernel import ffi_private as _backend  # type: ignore[no-redef]
    except (ImportError, AttributeError, TypeError):  # another Python: private names may move
        from ocirt.kernel import ffi_public as _backend  # type: ignore[no-redef]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    # What a system call takes: an integer, bytes (a pointer to them), a buffer (a pointer to it), None (NULL).
    Argument = int | bytes | None | Any

EINVAL = 22


_call: Callable[..., int] = _backend.call
_string_array: Callable[[Sequence[bytes]], Any] = _backend.string_array
address_of: Callable[[Any], int] = _backend.address_of
# Memory the kernel may write to: that many bytes of zeros, or a copy of bytes.  `.raw` is what is in it.
buffer: Callable[[int | bytes], Any] = _backend.Memory


def path(name: str | bytes) -> bytes:
    """name as the kernel takes it.

    Raises KernelError EINVAL for a NUL, where C would silently cut the name, and for a lone
    surrogate, which no byte string stands behind.
    """
    if not name:  # most are, beside a descriptor
        return b""
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:
        raise KernelError(EINVAL, os.strerror(EINVAL), "", f"{name!a} is not text") from None
    if b"\0" in encoded:
        raise KernelError(EINVAL, os.strerror(EINVAL), "", f"NUL in {encoded!r}")
    return encoded


def string_array(strings: Sequence[str | bytes]) -> Any:
    """char *[] ending in NULL, as execve(2) takes; keeps the strings alive."""
    return _string_array([path(string) for string in strings])


def syscall(call: str, number: int, *arguments: Argument, detail: str | Callable[[], str] = "") -> int:
    """syscall(2).  call: man-page name.  At most six arguments.  Returns the (non-negative) result.

    Raises KernelError with call and detail (a function is only called when the error is told); EINVAL
    without calling the kernel for an integer that does not fit in 64 bits.
    """
    try:
        result = _call(number, *arguments)
    except OverflowError as error:
        raise KernelError(EINVAL, os.strerror(EINVAL), call, str(error)) from None
    except TypeError as error:
        raise TypeError(f"{call}: {error}") from None
    if result < 0:
        raise KernelError(-result, os.strerror(-result), call, detail)
    return result
