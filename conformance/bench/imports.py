"""Print what every command imports and what that costs.  Run by `make imports` with python3 -I -S."""

from __future__ import annotations

import os
import subprocess
import sys

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SLOWEST = 5


def imports(command: str) -> list[tuple[int, str]]:
    """(own microseconds, module) of every module that importing the command's file loads beyond the interpreter's."""
    code = f"import sys; sys.path.insert(0, {TREE!r}); import ocirt.cli, ocirt.commands.{command}"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "importtime", "-c", code], check=True, capture_output=True, text=True
    )
    rows = [line.removeprefix("import time:").split("|") for line in done.stderr.split("\n") if "|" in line]
    loaded = [(int(own), name.strip()) for own, _, name in rows if own.strip().isdigit()]
    names = [name for _, name in loaded]
    # What the interpreter loads for itself comes first and ends with io, which needs abc.
    return loaded[names.index("io") + 1 :]


def main() -> None:
    commands = sorted(
        name[:-3] for name in os.listdir(f"{TREE}/ocirt/commands") if name[0] != "_" and name[-3:] == ".py"
    )
    for command in commands:
        imports(command)  # the first time compiles
        loaded = imports(command)
        total = sum(own for own, _ in loaded) / 1000
        slowest = ", ".join(f"{name} {own / 1000:.1f}" for own, name in sorted(loaded, reverse=True)[:SLOWEST])
        print(f"{command:10} {len(loaded):3} modules {total:5.1f} ms   {slowest}")


if __name__ == "__main__":
    main()
