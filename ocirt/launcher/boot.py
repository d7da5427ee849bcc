"""What the native launcher executes when its image is made: it supplies what the interpreter's core lacks, and imports
all of ocirt that a container's life needs.  Every start calls main().

native.py defines CODES, ORDER, PACKAGES and READY before.
"""

from __future__ import annotations

import builtins
import gc
import sys
from _io import open as io_open
from marshal import loads
from posix import putenv

from _ocirt import allocate_for, complete  # type: ignore[import-not-found]  # part of the launcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _frozen_importlib import ModuleSpec
    from collections.abc import Sequence
    from types import CodeType, ModuleType
    from typing import NoReturn

    from ocirt.launcher.loader import Modules

    CODES: dict[str, bytes]  # marshalled: most of them are used once, or never
    READY: tuple[str, ...]  # the modules to import
    OWNERS: dict[str, int]  # of memory, see placement.py
    # See Modules.
    ORDER: dict[str, tuple[str, ...]]
    PACKAGES: dict[str, str]


def code_of(name: str) -> CodeType | None:
    """Of a module that is not imported yet."""
    if name not in CODES:
        return None
    allocate_for(OWNERS[name])
    code: CodeType = loads(CODES[name])
    return code


class StandardLibrary:
    """The last resort: completes the interpreter, 4 ms, and finds the module in its library."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.startswith("ocirt."):
            return None
        sys.meta_path.remove(self)
        arguments = sys.argv
        complete()
        sys.argv = arguments
        from _frozen_importlib_external import ExtensionFileLoader, PathFinder

        ExtensionFileLoader.create_module = refuse  # type: ignore[method-assign, assignment]
        return PathFinder.find_spec(name, path, target)


def refuse(loader: object, spec: ModuleSpec) -> NoReturn:
    """No C module is loaded, whoever it is of: what it needs of C libraries may not be here."""
    raise ImportError(
        f"{spec.name} is a C module, of which the native launcher loads none: make install NATIVE=no", name=spec.name
    )


gc.disable()
builtins.open = io_open
sys.path = []
sys.path_hooks = []
sys.path_importer_cache = {}
putenv(b"TZ", b"UTC0")  # or the import of time would keep what this machine's zone is
exec(code_of("ocirt.launcher.loader"))  # type: ignore[arg-type]
sys.meta_path = [Modules(code_of, ORDER, PACKAGES, {}), *sys.meta_path]

from ocirt.cli import main as main  # noqa: E402

for module in READY:
    __import__(module)
    del CODES[module]
rehearsal = {"__name__": "ocirt.launcher.rehearsal"}
exec(code_of("ocirt.launcher.rehearsal"), rehearsal)  # type: ignore[arg-type]
rehearsal["rehearse"]()  # type: ignore[operator]
del rehearsal, CODES["ocirt.launcher.rehearsal"]
gc.collect()  # and with it what Python keeps to use again, which lies anywhere
sys.meta_path.append(StandardLibrary())
