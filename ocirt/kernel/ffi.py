"""The seam to the kernel: one function, syscall().

`import ctypes` costs 2.5 ms, `_ctypes` alone 0.3 ms; so the private module is used, in this file
only, with the public one (ffi_public.py) as the fallback that the tests hold to the same behaviour.

The libc function syscall(3) is called with the GIL held: there is one thread, and between clone3
and execve the fewer locks are touched the better.  Every argument travels as 64 bits: ctypes'
own default is a C int, which cuts 2**32 down to 0, and uid 0 is root.
"""

from __future__ import annotations

from ocirt import system as os
from ocirt.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    # What a system call takes: an integer, bytes (a pointer to them), a buffer (a pointer to it), None (NULL).
    Argument = int | bytes | None | Any

EINVAL = 22


def _private_backend() -> tuple[Any, Callable[[], int], Any, Any, Callable[[Any], int]]:
    """(syscall, get_errno, char type, string type, address_of) out of _ctypes."""
    simple: Any = _ctypes._SimpleCData  # generic for mypy, not for the interpreter

    class Long(simple):  # type: ignore[misc]
        _type_ = "l"

    class Pointer(simple):  # type: ignore[misc]
        _type_ = "P"  # takes integers too, all 64 bits of them

    class Char(simple):  # type: ignore[misc]
        _type_ = "c"

    class String(simple):  # type: ignore[misc]
        _type_ = "z"

    class Function(_ctypes.CFuncPtr):
        _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO | _ctypes.FUNCFLAG_PYTHONAPI
        _restype_ = Long
        _argtypes_ = (Long, Pointer, Pointer, Pointer, Pointer, Pointer, Pointer)

    this_process = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]
    function: Any = Function(_ctypes.dlsym(this_process, "syscall"))
    return function, _ctypes.get_errno, Char, String, _ctypes.addressof


try:
    import _ctypes

    _libc_syscall, _get_errno, _Char, _String, address_of = _private_backend()
except (ImportError, AttributeError, TypeError):  # another Python: private names may move
    from ocirt.kernel import ffi_public

    _libc_syscall, _get_errno, _Char, _String, address_of = ffi_public.backend()

# Immortal: building an array type costs 10 us, and clone3, statx and the like need the same few sizes.
_array_types: dict[int, Any] = {}


def path(name: str | bytes) -> bytes:
    """name as the kernel takes it.

    Raises KernelError EINVAL for a NUL, where C would silently cut the name, and for a lone
    surrogate, which no byte string stands behind.
    """
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:
        raise KernelError(EINVAL, os.strerror(EINVAL), "", f"{name!a} is not text") from None
    if b"\0" in encoded:
        raise KernelError(EINVAL, os.strerror(EINVAL), "", f"NUL in {encoded!r}")
    return encoded


def buffer(content: int | bytes) -> Any:
    """Memory the kernel may write to: content bytes of zeros, or a copy of content.  `.raw` is what is in it."""
    size = content if isinstance(content, int) else len(content)
    array_type = _array_types.get(size)
    if array_type is None:
        array_type = _array_types[size] = _Char * size
    memory = array_type()
    if not isinstance(content, int):
        memory[:] = content
    return memory


def string_array(strings: Sequence[str | bytes]) -> Any:
    """char *[] ending in NULL, as execve(2) takes; keeps the strings alive."""
    encoded = [path(string) for string in strings]
    return (_String * (len(encoded) + 1))(*encoded)


def syscall(call: str, number: int, *arguments: Argument, detail: str | Callable[[], str] = "") -> int:
    """syscall(2).  call: man-page name.  At most six arguments.  Returns the (non-negative) result.

    Raises KernelError with call and detail (a function is only called on failure); EINVAL without
    calling the kernel for an integer that does not fit in 64 bits.
    """
    for argument in arguments:
        if isinstance(argument, int) and not -(2**63) <= argument < 2**64:
            raise KernelError(EINVAL, os.strerror(EINVAL), call, f"{argument} does not fit in 64 bits")
        if isinstance(argument, str):
            raise TypeError(f"{call}: str where the kernel wants bytes")  # ctypes would pass wchar_t *
    result: int = _libc_syscall(number, *arguments, *_PADDING[len(arguments)])
    if result == -1:
        errno = _get_errno()
        raise KernelError(errno, os.strerror(errno), call, detail if isinstance(detail, str) else detail())
    return result


_PADDING = tuple((0,) * (6 - count) for count in range(7))
