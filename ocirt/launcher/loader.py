"""Finds ocirt's modules in the pack.  It is compiled into ocirt.pack itself, where the launcher executes it with
three names: pack (the open file's descriptor, close-on-exec), index and directory.
"""

from __future__ import annotations

import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import ExtensionFileLoader
from marshal import loads
from posix import pread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType

    pack: int
    # A module's name -> start and size of its bundle in the pack, whose code is in it, is it a package.
    index: dict[str, tuple[int, int, tuple[str, ...], bool]]
    extensions: dict[str, str]  # a C module's name -> its file, which spares listing the library's directories
    directory: str  # where the same modules, and those left out of the pack, lie as files


codes: dict[str, CodeType] = {}  # read, and not yet all executed


class Pack:
    """Finder and loader in one."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name in extensions:
            return ModuleSpec(name, ExtensionFileLoader(name, extensions[name]), origin=extensions[name])
        if name not in index:
            return None
        package = index[name][3]
        spec = ModuleSpec(name, self, is_package=package)  # type: ignore[arg-type]  # has all a loader needs
        if package:
            spec.submodule_search_locations = [f"{directory}/{name.replace('.', '/')}"]
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """None: the import system makes it."""

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        if name not in codes:
            start, size, names, _ = index[name]
            codes.update(zip(names, loads(pread(pack, size, start)), strict=True))
        exec(codes[name], module.__dict__)


sys.meta_path.insert(0, Pack())
