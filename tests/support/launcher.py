"""What the installed launcher does, for `python3 -IS -c`: this tree's ocirt in an isolated interpreter."""

from __future__ import annotations

from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
PREPARE = f"import sys; sys.path.insert(0, {str(TREE)!r})"
LAUNCHER = f"{PREPARE}; from ocirt.cli import main; main()"
