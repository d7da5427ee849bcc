"""What ffi.py needs, out of the public ctypes: for a Python whose _ctypes is another one, and for the tests."""

from __future__ import annotations

import ctypes

from ocirt.kernel.ffi_ctypes import backend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_prototype = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_long, *(ctypes.c_void_p,) * 6, use_errno=True)
_syscall: Any = _prototype(("syscall", ctypes.PyDLL(None, use_errno=True)))

call, Memory, string_array, address_of = backend(
    _syscall, ctypes.get_errno, ctypes.c_char, ctypes.c_char_p, ctypes.addressof
)
