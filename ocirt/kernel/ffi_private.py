"""What ffi.py needs, out of _ctypes: `import ctypes` costs 2.5 ms, this private module alone 0.3 ms."""

from __future__ import annotations

import _ctypes

from ocirt.kernel.ffi_ctypes import backend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_simple: Any = _ctypes._SimpleCData  # generic for mypy, not for the interpreter


class _Long(_simple):  # type: ignore[misc]
    _type_ = "l"


class _Pointer(_simple):  # type: ignore[misc]
    _type_ = "P"  # takes integers too, all 64 bits of them


class _Char(_simple):  # type: ignore[misc]
    _type_ = "c"


class _String(_simple):  # type: ignore[misc]
    _type_ = "z"


class _Function(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO | _ctypes.FUNCFLAG_PYTHONAPI
    _restype_ = _Long
    _argtypes_ = (_Long, _Pointer, _Pointer, _Pointer, _Pointer, _Pointer, _Pointer)


_this_process = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]
_syscall: Any = _Function(_ctypes.dlsym(_this_process, "syscall"))

call, Memory, string_array, address_of = backend(_syscall, _ctypes.get_errno, _Char, _String, _ctypes.addressof)
