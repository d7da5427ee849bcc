"""Lower layers know nothing of higher ones (docs/architecture.md): each import goes down or stays level."""

from __future__ import annotations

import ast

import pytest

from tests.architecture.source import imports, modules

# From the lowest to the highest.  A name stands for the module or for everything in the package.
LAYERS = (
    (
        "colours",
        "errors",
        "examples",
        "extras",
        "filelock",
        "help",
        "log",
        "options",
        "remedies",
        "resultfile",
        "system",
        "units",
        "users",
    ),
    ("kernel",),
    ("config", "seccomp", "cgroups", "resctrl", "criu"),
    ("pipeline", "box", "channel", "container", "extensions", "host", "hooks", "lockholder", "selfexe"),
    ("stages",),
    ("plan", "process_plan", "exec_plan", "restore_plan", "diagnosis"),
    ("process", "probe", "doctor", "check", "stats", "trace", "bugreport"),
    ("commands",),
    ("cli",),
    ("__main__", "launcher", "library"),
)
MODULES = modules()


def layer(module: str) -> int:
    _, *below = module.split(".")
    if not below:
        return -1  # ocirt itself: two constants
    for height, names in enumerate(LAYERS):
        if below[0] in names:
            return height
    raise AssertionError(f"{module} is in no layer: say in which it belongs")


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down(name: str) -> None:
    wrong = [
        f"line {line}: {target}"
        for line, target in imports(MODULES[name], MODULES)
        if target.split(".")[0] == "ocirt" and layer(target) > layer(name)
    ]
    assert not wrong


def test_the_rule_sees_imports_inside_functions_but_not_those_for_types() -> None:
    tree = ast.parse(
        "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    from ocirt import plan\n"
        "def f():\n    from ocirt import cli\n    from ocirt.errors import CODES\n"
    )
    assert [target for _, target in imports(tree, MODULES)] == ["ocirt.cli", "ocirt.errors"]
