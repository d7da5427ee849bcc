"""Where a pointer's value and name stand in a text."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from ocirt.check.places import Places
from tests.support.mutation import NAMES, anything, places
from tests.support.writer import Writer

TEXT = '{\n  "a": [1, {"b/c": true}],\n\t"d~é": "\\u00e9\\n", "𝄞": null}'


@pytest.mark.parametrize(
    ("pointer", "on_name", "place"),
    [
        ("", False, (1, 1)),
        ("/a", False, (2, 8)),
        ("/a", True, (2, 3)),
        ("/a/0", False, (2, 9)),
        ("/a/0", True, (2, 9)),
        ("/a/1/b~1c", False, (2, 20)),
        ("/a/1/b~1c", True, (2, 13)),
        ("/d~0é", False, (3, 9)),
        ("/𝄞", True, (3, 21)),
        ("/𝄞", False, (3, 26)),
        ("/a/7/x", False, (2, 8)),
        ("/no/such", True, (1, 1)),
    ],
)
def test_places(pointer: str, on_name: bool, place: tuple[int, int]) -> None:
    found = Places(TEXT)
    assert found.faults == []
    assert found.find(pointer, on_name) == place


def test_every_name_that_is_given_twice() -> None:
    found = Places('{"a": 1, "a": 2, "b": {"c": 1, "c": 2, "c": 3}}')
    assert [(at, position) for position, _, at in found.faults] == [("/a", 9), ("/b/c", 31), ("/b/c", 39)]


def test_the_first_fault_ends_the_reading() -> None:
    assert Places('{"a": 1, "a": 2, "b": tru, x}').faults[1:] == [(22, 'expected a value, found "tru"', "/b")]


@pytest.mark.parametrize("seed", range(30))
def test_as_they_were_written(seed: int) -> None:
    random = Random(seed)
    value: dict[str, object] = {name: anything(random) for name in random.sample(NAMES, 8)}
    value["deep"] = {name: [anything(random), {"é": anything(random)}] for name in random.sample(NAMES, 3)}
    writer = Writer(_finite(value), random)
    found = Places(writer.text)
    assert found.faults == []
    assert len(found.values) == len(places(value)) + 1
    assert {pointer: found.find(pointer) for pointer in writer.values} == writer.values
    assert {pointer: found.find(pointer, True) for pointer in writer.names} == writer.names


def _finite(value: object) -> object:
    """Without infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {name: _finite(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return 0 if value == float("inf") else value


def test_files_of_engines_are_read_to_their_ends() -> None:
    files = sorted((Path(__file__).parents[2] / "configs/engines").glob("*.json"))
    assert len(files) == 28
    assert not [file.name for file in files if Places(file.read_text()).faults]
