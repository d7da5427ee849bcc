"""What ffi.py needs, out of the public ctypes: for a Python whose _ctypes is another one, and for the tests."""

from __future__ import annotations

import ctypes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def backend() -> tuple[Any, Callable[[], int], Any, Any, Callable[[Any], int]]:
    """(syscall, get_errno, char type, string type, address_of), as ffi._private_backend."""
    prototype = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_long, *(ctypes.c_void_p,) * 6, use_errno=True)
    function: Any = prototype(("syscall", ctypes.PyDLL(None, use_errno=True)))
    return function, ctypes.get_errno, ctypes.c_char, ctypes.c_char_p, ctypes.addressof
