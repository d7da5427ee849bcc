"""The tables of system call numbers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ocirt.kernel import numbers

REPOSITORY = Path(__file__).parents[3]


def test_the_file_is_what_its_generator_writes() -> None:
    generator = [sys.executable, str(REPOSITORY / "spec/kernel_numbers.py")]
    result = subprocess.run(generator, capture_output=True, text=True, check=False)
    if result.returncode and "libseccomp" in result.stderr:
        pytest.skip("libseccomp is not installed")
    assert result.stdout == Path(numbers.__file__).read_text()


def test_every_architecture_has_the_same_columns() -> None:
    assert len({len(row) for row in numbers._NUMBERS.values()}) == 1


def test_the_generic_table_is_shared() -> None:
    assert numbers._NUMBERS["aarch64"] == numbers._NUMBERS["riscv64"]
