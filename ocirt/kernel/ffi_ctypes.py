"""What the private and the public ctypes have in common, as ffi.py's backend.

The libc function syscall(3) is called with the GIL held: there is one thread, and between clone3 and execve the fewer
locks are touched the better.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

_PADDING = tuple((0,) * (6 - count) for count in range(7))


def backend(
    syscall: Any, get_errno: Callable[[], int], char: Any, string: Any, address_of: Callable[[Any], int]
) -> tuple[Callable[..., int], Callable[[int | bytes], Any], Callable[[Sequence[bytes]], Any], Callable[[Any], int]]:
    """(call, Memory, string_array, address_of) from syscall(3), errno, two simple types and addressof."""
    # Immortal: building an array type costs 10 us, and clone3, statx and the like need the same few sizes.
    array_types: dict[int, Any] = {}

    def call(number: int, *arguments: int | bytes | Any) -> int:
        for argument in arguments:
            if isinstance(argument, int) and not -(2**63) <= argument < 2**64:
                raise OverflowError(f"{argument} does not fit in 64 bits")
            if isinstance(argument, str):  # ctypes would pass wchar_t *
                raise TypeError("str where the kernel wants bytes")
        result: int = syscall(number, *arguments, *_PADDING[len(arguments)])
        return result if result != -1 else -get_errno()

    def memory(content: int | bytes) -> Any:
        size = content if isinstance(content, int) else len(content)
        array_type = array_types.get(size)
        if array_type is None:
            array_type = array_types[size] = char * size
        made = array_type()
        if not isinstance(content, int):
            made[:] = content
        return made

    def string_array(strings: Sequence[bytes]) -> Any:
        return (string * (len(strings) + 1))(*strings)

    return call, memory, string_array, address_of
