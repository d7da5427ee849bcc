"""Finds and loads ocirt's modules for both launchers: packed.py and boot.py execute it and say where the code is."""

from __future__ import annotations

import sys
from _frozen_importlib import ModuleSpec
from _imp import create_dynamic, exec_dynamic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, ModuleType


class Modules:
    """Finder and loader in one.

    code_of:    a module's code by its name, None when it is not here.
    order:      a module -> what it imports when it is loaded, and what that imports, in the order of execution.
    packages:   a package -> the directory where its modules lie as files.
    extensions: a C module -> its file, which spares listing the library's directories.
    """

    def __init__(
        self,
        code_of: Callable[[str], CodeType | None],
        order: dict[str, tuple[str, ...]],
        packages: dict[str, str],
        extensions: dict[str, str],
    ) -> None:
        self.code_of = code_of
        self.order = order
        self.packages = packages
        self.extensions = extensions

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name in self.extensions:
            return ModuleSpec(name, Extension(), origin=self.extensions[name])  # type: ignore[arg-type]  # has all
        if self.code_of(name) is None:
            return None
        spec = ModuleSpec(name, self, is_package=name in self.packages)  # type: ignore[arg-type]  # a loader needs
        if name in self.packages:
            spec.submodule_search_locations = [self.packages[name]]
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """None: the import system makes it."""

    def exec_module(self, module: ModuleType) -> None:
        """What the module needs is executed first, one after the other: the import system takes 20 us for each."""
        for needed in self.order.get(module.__name__, ()):
            if needed not in sys.modules:
                made = sys.modules[needed] = type(sys)(needed)
                made._need = need  # type: ignore[attr-defined]
                package, _, name = needed.rpartition(".")
                if needed in self.packages:
                    made.__path__ = [self.packages[needed]]
                exec(self.code_of(needed), made.__dict__)  # type: ignore[arg-type]  # what is in order is here
                if package:
                    setattr(sys.modules[package], name, made)
        module._need = need  # type: ignore[attr-defined]
        exec(self.code_of(module.__name__), module.__dict__)  # type: ignore[arg-type]


def need(name: str) -> ModuleType:
    """The module of this name, imported if it is not there yet; in the bytecode in place of import statements."""
    if name not in sys.modules:
        __import__(name)
    return sys.modules[name]


class Extension:
    """Loads a C module."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return create_dynamic(spec)

    def exec_module(self, module: ModuleType) -> None:
        exec_dynamic(module)
