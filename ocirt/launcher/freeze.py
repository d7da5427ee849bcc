"""Turn modules' code into C: objects that lie ready in the native launcher, where nothing has to read or make them.

A start without this spends a quarter of its instructions on unmarshalling.  Each object stands once, however many
modules use it, so a name is the same object everywhere and compares at once.  The layouts are those of Python 3.11
(Include/cpython/code.h and its neighbours), which native.c insists on.
"""

from __future__ import annotations

import dis
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import CodeType

HEADER = """\
#define Py_BUILD_CORE
#include <Python.h>
#include <string.h>
#include "internal/pycore_code.h"
#include "internal/pycore_gc.h"
#include "internal/pycore_global_objects.h"
#include "internal/pycore_long.h"
#include "internal/pycore_object.h"
#include "internal/pycore_runtime.h"

#define HEAD(type) _PyObject_IMMORTAL_INIT(type)
#define VAR_HEAD(type, size) {.ob_base = _PyObject_IMMORTAL_INIT(type), .ob_size = (size)}
#define TEXT(name, size) static struct {PyASCIIObject head; char data[(size) + 1];} name
#define WIDE(name, type, size) static struct {PyCompactUnicodeObject head; type data[(size) + 1];} name
#define BYTES(name, size) static struct {PyObject_VAR_HEAD Py_hash_t ob_shash; char ob_sval[(size) + 1];} name
#define INTEGER(name, size) static struct {PyObject_VAR_HEAD digit ob_digit[(size)];} name
/* The collector looks at what stands before a tuple, and finds that it does not keep this one. */
#define ITEMS(size) struct {PyObject_VAR_HEAD PyObject *ob_item[(size)];}
#define TUPLE(name, size) static struct {PyGC_Head gc; ITEMS(size) tuple;} name
#define CODE(name, size) static struct _PyCode_DEF(size) name
#define COLD __attribute__((section(".data.cold")))
"""

FOOTER = """
PyObject *frozen_module(const char *name)
{
    size_t low = 0, high = sizeof(modules) / sizeof(modules[0]);
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(name, modules[middle].name);
        if (order == 0)
            return modules[middle].code;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}
"""

DIGIT_BITS = 30
SMALL = range(-5, 257)  # the interpreter's own integers
SINGLETONS = ((None, "Py_None"), (True, "Py_True"), (False, "Py_False"), (Ellipsis, "Py_Ellipsis"))
LOCAL, CELL, FREE = 0x20, 0x40, 0x80  # CO_FAST_* of pycore_code.h


def quoted(data: bytes) -> str:
    """A C string.  Every byte as three octal digits, so that none runs into the next."""
    plain = "".join(chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}" for byte in data)
    return f'"{plain}"'


class Freezer:
    """Writes C objects; reference() is an expression that points to one.

    What a program that runs well never looks at, such as line numbers, is set apart: a page is copied, 2 us, when the
    first object on it is used.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.known: dict[object, str] = {}
        self.names = 0
        self.warm: set[object] = set()

    def reference(self, value: object) -> str:
        """A pointer to the object, which is written before.  Raises TypeError for what a constant cannot be."""
        key = self.key(value)
        if key not in self.known:
            self.names += 1
            first = len(self.lines)
            self.known[key] = self.write(value, f"o{self.names}")
            if key not in self.warm and len(self.lines) > first:
                self.lines[-1] = f"COLD {self.lines[-1]}"
        return self.known[key]

    def add(self, code: CodeType) -> str:
        """A pointer to a module's code."""
        self.find_warm(code)
        return self.reference(code)

    def find_warm(self, code: CodeType) -> None:
        """Note what is used when the code is executed or a function made of it."""
        for value in (code, code.co_consts, code.co_names, code.co_name, code.co_qualname, *code.co_names):
            self.warm.add(self.key(value))
        for value in code.co_consts:
            if hasattr(value, "co_code"):
                self.find_warm(value)
            else:
                self.warm.add(self.key(value))
                if isinstance(value, tuple | frozenset):
                    self.warm.update(map(self.key, value))

    def key(self, value: object) -> object:
        """1 and True and 1.0 are equal, but not the same constant."""
        if isinstance(value, tuple | frozenset):
            return type(value), tuple(map(self.key, value))
        return type(value), id(value) if hasattr(value, "co_code") else value

    def write(self, value: object, name: str) -> str:  # one line a type
        for singleton, pointer in SINGLETONS:
            if value is singleton:
                return pointer
        if isinstance(value, str):
            return self.text(value, name)
        if isinstance(value, bytes):
            self.lines.append(
                f"BYTES({name}, {len(value)}) = {{VAR_HEAD(&PyBytes_Type, {len(value)}), -1, {quoted(value)}}};"
            )
        elif isinstance(value, int):
            if value in SMALL:
                return f"(PyObject *)&_PyLong_SMALL_INTS[{value + 5}]"
            self.integer(value, name)
        elif isinstance(value, float):
            self.lines.append(f"static PyFloatObject {name} = {{HEAD(&PyFloat_Type), {value.hex()}}};")
        elif isinstance(value, tuple):
            return self.tuple(value, name)
        elif isinstance(value, frozenset):  # for `in` only, where a tuple does as well
            return self.tuple(tuple(sorted(value, key=repr)), name)
        elif hasattr(value, "co_code"):
            self.code(value, name)  # type: ignore[arg-type]
        else:
            raise TypeError(f"a constant of type {type(value).__name__}")
        return f"(PyObject *)&{name}"

    def text(self, value: str, name: str) -> str:
        size = len(value)
        if value.isascii():
            state = "{.kind = 1, .compact = 1, .ascii = 1, .ready = 1}"
            head = f"{{HEAD(&PyUnicode_Type), {size}, -1, {state}, NULL}}"
            self.lines.append(f"TEXT({name}, {size}) = {{{head}, {quoted(value.encode())}}};")
            return f"(PyObject *)&{name}"
        kind, unit = next(
            (kind, unit)
            for limit, kind, unit in ((0xFF, 1, "Py_UCS1"), (0xFFFF, 2, "Py_UCS2"), (0x10FFFF, 4, "Py_UCS4"))
            if max(map(ord, value)) <= limit
        )
        head = f"{{.ob_base = HEAD(&PyUnicode_Type), .length = {size}, .hash = -1"
        head += f", .state = {{.kind = {kind}, .compact = 1, .ready = 1}}}}"
        data = ", ".join(str(ord(character)) for character in value)
        self.lines.append(f"WIDE({name}, {unit}, {size}) = {{{{._base = {head}}}, {{{data}}}}};")
        return f"(PyObject *)&{name}"

    def integer(self, value: int, name: str) -> None:
        digits = []
        rest = abs(value)
        while rest:
            digits.append(rest & (1 << DIGIT_BITS) - 1)
            rest >>= DIGIT_BITS
        size = -len(digits) if value < 0 else len(digits)
        numbers = ", ".join(map(str, digits))
        self.lines.append(f"INTEGER({name}, {len(digits)}) = {{VAR_HEAD(&PyLong_Type, {size}), {{{numbers}}}}};")

    def tuple(self, value: tuple[object, ...], name: str) -> str:
        if not value:
            return "(PyObject *)&_Py_SINGLETON(tuple_empty)"
        items = ", ".join(self.reference(item) for item in value)
        size = len(value)
        self.lines.append(f"TUPLE({name}, {size}) = {{.tuple = {{VAR_HEAD(&PyTuple_Type, {size}), {{{items}}}}}}};")
        return f"(PyObject *)&{name}.tuple"

    def code(self, value: CodeType, name: str) -> None:
        kinds = dict.fromkeys(value.co_varnames, LOCAL)
        for cell in value.co_cellvars:
            kinds[cell] = kinds.get(cell, 0) | CELL
        kinds |= dict.fromkeys(value.co_freevars, FREE)
        plain_cells = sum(kind == CELL for kind in kinds.values())
        resume = dis.opmap["RESUME"]
        fields = {
            "ob_base": f"VAR_HEAD(&PyCode_Type, {len(value.co_code) // 2})",
            "co_consts": self.reference(value.co_consts),
            "co_names": self.reference(value.co_names),
            "co_exceptiontable": self.reference(value.co_exceptiontable),
            "co_flags": value.co_flags,
            "co_warmup": "QUICKENING_INITIAL_WARMUP_VALUE",
            "co_argcount": value.co_argcount,
            "co_posonlyargcount": value.co_posonlyargcount,
            "co_kwonlyargcount": value.co_kwonlyargcount,
            "co_stacksize": value.co_stacksize,
            "co_firstlineno": value.co_firstlineno,
            "co_nlocalsplus": len(kinds),
            "co_nlocals": value.co_nlocals,
            "co_nplaincellvars": plain_cells,
            "co_ncellvars": len(value.co_cellvars),
            "co_nfreevars": len(value.co_freevars),
            "co_localsplusnames": self.reference(tuple(kinds)),
            "co_localspluskinds": self.reference(bytes(kinds.values())),
            "co_filename": self.reference(value.co_filename),
            "co_name": self.reference(value.co_name),
            "co_qualname": self.reference(value.co_qualname),
            "co_linetable": self.reference(value.co_linetable),
            "_co_firsttraceable": value.co_code[::2].index(resume),
            "co_code_adaptive": quoted(value.co_code),
        }
        body = ", ".join(f".{field} = {text}" for field, text in fields.items())
        self.lines.append(f"CODE({name}, {len(value.co_code)}) = {{{body}}};")


def c_source(modules: Iterable[tuple[str, CodeType]]) -> str:
    """A C file that defines frozen_module(), which finds the code of these modules by name.

    What the first modules use comes first: those that are always loaded lie together.
    """
    freezer = Freezer()
    pointers = {name: freezer.add(code) for name, code in modules}
    entries = [f"    {{{quoted(name.encode())}, {pointers[name]}}}," for name in sorted(pointers)]
    table = ["static struct {const char *name; PyObject *code;} modules[] = {", *entries, "};"]
    return "\n".join((HEADER, *freezer.lines, *table)) + FOOTER
