"""What the native launcher executes: it supplies what the interpreter's core lacks, and finds ocirt's modules.

native.py puts its code into the executable, with ORDER, PACKAGES and EXTENSIONS before it.
"""

from __future__ import annotations

import builtins
import gc
import sys
from _io import open as io_open

from _ocirt import code, complete  # type: ignore[import-not-found]  # part of the launcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _frozen_importlib import ModuleSpec
    from collections.abc import Sequence
    from types import ModuleType

    from ocirt.launcher.loader import Modules

    # See Modules.
    ORDER: dict[str, tuple[str, ...]]
    PACKAGES: dict[str, str]
    EXTENSIONS: dict[str, str]


class StandardLibrary:
    """The last resort: completes the interpreter, 4 ms, and finds the module in its library."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.startswith("ocirt."):
            return None
        sys.meta_path.remove(self)
        complete()
        from _frozen_importlib_external import PathFinder

        return PathFinder.find_spec(name, path, target)


gc.disable()
builtins.open = io_open
sys.path = []
sys.path_hooks = []
sys.path_importer_cache = {}
exec(code("ocirt.launcher.loader"))
sys.meta_path = [Modules(code, ORDER, PACKAGES, EXTENSIONS), *sys.meta_path, StandardLibrary()]

from ocirt.cli import main  # noqa: E402

main()
