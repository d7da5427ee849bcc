"""Sealing: after it no import finds anything, whatever lies on the file system."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[3]

CODE = """
import sys
sys.path.insert(0, {tree!r})
from ocirt.process.init import seal
sys.path.insert(0, {evil!r})
seal()
for name in ("colorsys", "evil", "ocirt.remedies"):
    try:
        __import__(name)
        print("imported", name)
    except ImportError:
        print("sealed", name)
"{{}}".format("ä").encode("utf-8").decode("utf-8")
"""


def test_nothing_can_be_imported_after_seal(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text("print('executed')")
    code = CODE.format(tree=str(HERE), evil=str(tmp_path))
    done = subprocess.run([sys.executable, "-IS", "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split("\n")[:-1] == ["sealed colorsys", "sealed evil", "sealed ocirt.remedies"]
