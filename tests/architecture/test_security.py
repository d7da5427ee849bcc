"""docs/security.md: every row of the catalogue is there, and every test it names exists."""

from __future__ import annotations

import re

import pytest

from tests.architecture.source import TREE
from tests.architecture.test_requirements import node_ids

PAGE = (TREE / "docs" / "security.md").read_text()
ROWS = {cells[1].strip(): cells for line in PAGE.splitlines() if len(cells := line.split("|")) == 7}
CATALOGUE = [f"{letter}{number}" for letter, last in (("H", 5), ("P", 24)) for number in range(1, last + 1)]
CATALOGUE += [f"S{number:02}" for number in range(1, 23)]


def named(cell: str) -> set[str]:
    return {f"tests/{name}" for name in re.findall(r"`([^`]*::[^`]*)`", cell)}


def test_every_row_is_there() -> None:
    assert sorted(set(CATALOGUE) - set(ROWS)) == []


@pytest.mark.parametrize("row", CATALOGUE)
def test_row_names_tests_that_exist(row: str) -> None:
    _, _, attack, defence, tests, proof, _ = ROWS[row]
    assert attack.strip()
    assert defence.strip()
    assert named(tests)
    assert re.match(r" (runc|crun|pinned|control: (`|the same test))", proof)
    for name in named(tests) | named(proof):
        assert name in node_ids(name.partition("::")[0]), name


def test_other_files_that_are_named_exist() -> None:
    for name in re.findall(r"`(?:tests/)?((?:e2e|architecture|kernel|unit)/[a-z_/]*\.py)`", PAGE):
        assert (TREE / "tests" / name).is_file(), name
