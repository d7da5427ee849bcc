"""Where libraries of others are taken from, and what is said when there is none."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from ocirt import extras
from ocirt.errors import OcirtError


def test_only_a_directory_as_safe_as_the_library_is_added(tmp_path: Path) -> None:
    library = tmp_path / "lib" / "python3.11"
    debian, others = tmp_path / "lib" / "python3" / "dist-packages", library / "site-packages"
    for directory in (debian, others):
        (directory / "jeepney").mkdir(parents=True, mode=0o755)
    assert extras.package_directories(str(library), "jeepney") == [str(debian), str(others)]
    debian.chmod(0o775)
    assert extras.package_directories(str(library), "jeepney") == [str(others)]
    (others / "jeepney").chmod(0o757)
    assert extras.package_directories(str(library), "jeepney") == []
    debian.chmod(0o755)
    (debian / "jeepney").rmdir()
    assert extras.package_directories(str(library), "jeepney") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a directory to somebody else")
def test_a_directory_of_somebody_else_is_not_added(tmp_path: Path) -> None:
    library = tmp_path / "lib" / "python3.11"
    (library / "site-packages" / "jeepney").mkdir(parents=True, mode=0o755)
    os.chown(library / "site-packages" / "jeepney", 1000, 1000)
    assert extras.package_directories(str(library), "jeepney") == []


def test_what_is_loaded_leaves_the_path_as_it_was() -> None:
    before = list(sys.path)
    package, low_level = extras.load("a test needs", "jeepney", "jeepney.low_level")
    assert (package.__name__, low_level.__name__) == ("jeepney", "jeepney.low_level")
    assert sys.path == before


def test_a_library_that_is_not_there() -> None:
    before = list(sys.path)
    with pytest.raises(OcirtError) as caught:
        extras.load("a test needs", "no_such_library.part")
    assert (caught.value.code, caught.value.what) == (
        "unsupported",
        "a test needs the Python library no_such_library",
    )
    assert "python3-no_such_library" in caught.value.remedy
    assert sys.path == before
