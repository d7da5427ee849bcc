"""Root file systems of Debian, made by debootstrap once and kept."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("OCIRT_TEST_CACHE", "/var/cache/ocirt-tests"))
SUITE = "bookworm"
MIRROR = os.environ.get("OCIRT_TEST_MIRROR", "").split()  # none: debootstrap's own default


def root_with(name: str, packages: str) -> Path:
    """A minimal root and these packages, separated by commas.  name: of its directory, the suite after it."""
    root = CACHE / f"{name}-{SUITE}"
    if not root.is_dir():
        if not shutil.which("debootstrap"):
            pytest.skip("debootstrap is not installed")
        partial = CACHE / f"{name}-{SUITE}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        command = ["debootstrap", "--variant=minbase", f"--include={packages}", SUITE, str(partial), *MIRROR]
        subprocess.run(command, check=True, timeout=900, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        partial.rename(root)
    return root
