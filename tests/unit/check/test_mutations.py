"""200 configurations of engines, each made wrong in one known place: check names its line and column.

The text is written by tests/support/writer.py, which notes where everything stands, in a layout of its own.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from ocirt.check import Finding, nearest
from ocirt.check.examine import examine
from ocirt.config import shapes
from tests.support.mutation import places
from tests.support.writer import Raw, Writer

ENGINES = sorted((Path(__file__).parents[2] / "configs/engines").glob("*.json"))
MUTATIONS = 200

# pointer, the value there, what contradicts a rule then
BROKEN = (
    ("/ociVersion", "1.0", "/ociVersion"),
    ("/root/path", "", "/root/path"),
    ("/process/args", [], "/process/args"),
    ("/process/cwd", "here", "/process/cwd"),
    ("/process/env/0", "=x", "/process/env/0"),
    ("/process/user/uid", 2**32 - 1, "/process/user/uid"),
    ("/process/oomScoreAdj", 1001, "/process/oomScoreAdj"),
    ("/mounts/1/destination", "", "/mounts/1/destination"),
    ("/linux/namespaces/1", {"type": "mount"}, ""),
    ("/linux/maskedPaths/0", "proc", "/linux/maskedPaths/0"),
    ("/linux/sysctl", {"kernel.panic": "1"}, "/linux/sysctl/kernel.panic"),
    ("/linux/resources/cpu/cpus", "3-1", "/linux/resources/cpu/cpus"),
    ("/linux/resources/devices/0/access", "rwx", "/linux/resources/devices/0/access"),
    ("/annotations/", "nothing", "/annotations/"),
    ("/mounts/0/source", "a\0b", "/mounts/0/source"),
)


class Mutant:
    """value: the document.  at, on_name: the place.  level, code: of the finding.  word: in its remedy."""

    def __init__(self, value: Any, at: str, code: str, *, on_name: bool = False, word: str = "") -> None:
        self.value, self.at, self.code, self.on_name, self.word = value, at, code, on_name, word


def pointers(value: Any, at: str = "") -> list[str]:
    """Of everything in value, itself not."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for name, member in members:
        inner = f"{at}/" + str(name).replace("~", "~0").replace("/", "~1")
        found += [inner, *pointers(member, inner)]
    return found


def put(value: Any, pointer: str, new: Any) -> None:
    *above, last = nearest.steps(pointer)
    for step in above:
        value = value[step] if isinstance(value, dict) else value[int(step)]
    value[last if isinstance(value, dict) else int(last)] = new


def known(value: Any) -> list[str]:
    """The pointers of which the schema has something to say."""
    return [at for at in pointers(value) if nearest.shape_at(at) not in (None, shapes.SECTION)]


def other_kind(value: Any, random: Random) -> Mutant:
    """A value of another kind than the schema's."""
    at = random.choice(known(value))
    shape = nearest.shape_at(at)
    wrong = 17 if shape is str else "no" if shape is bool else {"integer": "many", "array": {}}.get(shape[0], [])
    put(value, at, wrong)
    return Mutant(value, at, "schema")


def other_word(value: Any, random: Random) -> Mutant:
    """A word of a fixed list, misspelt."""
    found = [at for at in known(value) if type(nearest.shape_at(at)) is tuple and nearest.shape_at(at)[0] == "enum"]
    at = random.choice([one for one in found if len(nearest.value_at(value, one)) > 3])
    word = nearest.value_at(value, at)
    put(value, at, word[:-1] if random.random() < 0.5 else word.swapcase() + "x")
    return Mutant(value, at, "schema", word=f'did you mean "{word}"?')


def missing(value: Any, random: Random) -> Mutant:
    """A required property away."""
    objects = ["", *(at for at in known(value) if type(nearest.shape_at(at)) is tuple)]
    choices = [
        (at, name)
        for at in objects
        if nearest.shape_at(at)[0] == "object"
        for name in nearest.shape_at(at)[1]
        if name in nearest.value_at(value, at)
    ]
    at, name = random.choice(choices)
    del nearest.value_at(value, at)[name]
    return Mutant(value, at, "schema", word=f'add "{name}": ')


def misspelt(value: Any, random: Random) -> Mutant:
    """The name of an optional property, misspelt: it is ignored, so this is advice."""
    choices = [
        (at, name)
        for at in ["", *known(value)]
        if type(nearest.shape_at(at)) is tuple and nearest.shape_at(at)[0] == "object"
        for name in nearest.value_at(value, at)
        if name in nearest.shape_at(at)[2] and name not in nearest.shape_at(at)[1] and len(name) > 4
    ]
    at, name = random.choice(choices)
    holder = nearest.value_at(value, at)
    wrong = name[0] + name[2:]
    renamed = [(wrong if one == name else one, member) for one, member in holder.items()]
    holder.clear()
    holder.update(renamed)
    return Mutant(value, f"{at}/{wrong}", "unknown-property", on_name=True, word=f'did you mean "{name}"?')


def no_json(value: Any, random: Random) -> Mutant:
    """Text that is no value."""
    at = random.choice(pointers(value))
    put(value, at, Raw(random.choice(("@", "True", "'x'", "01", "+1", "NaN", "undefined"))))
    return Mutant(value, at, "json")


def broken_rule(value: Any, random: Random) -> Mutant:
    """A value that the schema has nothing against, but the specification."""
    at, new, place = random.choice(BROKEN)
    if nearest.value_at(value, at.rpartition("/")[0]) is None:
        at, new, place = BROKEN[0]
    if place == "":  # a second one of that type
        new = {"type": value["linux"]["namespaces"][0]["type"]}
        place = at
    put(value, at, new)
    return Mutant(value, place, "rule")


KINDS = (other_kind, other_word, missing, misspelt, no_json, broken_rule)


@pytest.mark.parametrize("seed", range(MUTATIONS))
def test_the_place_is_named(seed: int) -> None:
    random = Random(seed)
    file = ENGINES[seed % len(ENGINES)]
    value = json.loads(file.read_text())
    mutant = KINDS[seed % len(KINDS)](copy.deepcopy(value), random)
    writer = Writer(mutant.value, random)
    place = (writer.names if mutant.on_name else writer.values)[mutant.at]
    findings = examine(writer.text.encode(), "/b").findings
    mine = [one for one in findings if (one.code, one.at) == (mutant.code, mutant.at)]
    assert [(one.line, one.column) for one in mine] == [place], [shown(one) for one in findings]
    assert mine[0].remedy
    assert mutant.word in mine[0].remedy
    if mutant.code != "unknown-property":
        assert [one.level for one in mine] == ["error"]


def shown(one: Finding) -> str:
    return f"{one.line}:{one.column} {one.level} {one.code} {one.what} [{one.at}] - {one.remedy}"


def test_the_mutants_are_many() -> None:
    value = json.loads(ENGINES[0].read_text())
    assert len(ENGINES) == 28
    assert len(places(value)) == len(pointers(value))
