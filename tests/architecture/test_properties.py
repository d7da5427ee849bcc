"""spec/properties.toml: every property of the schema has tests of its effect, and a value that is refused."""

from __future__ import annotations

import copy
import json

import pytest

from ocirt.config.bundle import read_config
from ocirt.errors import ConfigError
from tests.architecture.test_requirements import node_ids
from tests.support.properties import BAD, EVERY, TABLE, Bad, concrete, properties, replace

FIELDS = {"names", "effect", "later", "bad", "below", "code", "at"}
WHOLE = json.loads(EVERY.read_text())


def test_every_property_has_one_entry() -> None:
    """Without one, write the test of its effect; in the order of the schema, as far as one entry is for several."""
    named = [name for entry in TABLE for name in entry["names"]]
    assert sorted(set(properties()) - set(named)) == []
    assert sorted(set(named) - set(properties())) == []
    assert sorted({name for name in named if named.count(name) > 1}) == []


def test_the_walk_sees_lists_maps_and_references() -> None:
    found = properties()
    assert {"/ociVersion", "/mounts/*/uidMappings/*/size", "/linux/netDevices/*/name", "/linux/sysctl"} <= set(found)
    assert not [name for name in found if name.startswith(("/windows", "/freebsd"))]


def test_entries_are_complete() -> None:
    for entry in TABLE:
        assert set(entry) <= FIELDS, entry
        assert ("effect" in entry) != ("later" in entry), entry
        assert entry["names"], entry
        assert entry.get("effect", entry.get("later")), entry
        assert {"bad", "code"} <= set(entry), entry


def test_every_effect_is_seen_in_a_container() -> None:
    named = {test for entry in TABLE for test in entry.get("effect", ())}
    assert sorted(test for test in named if not test.startswith(("tests/e2e/", "tests/guest/"))) == []
    there = {name for file in {test.partition("::")[0] for test in named} for name in node_ids(file)}
    assert sorted(named - there) == []


def test_the_configuration_of_every_property_is_valid() -> None:
    read_config(EVERY.read_bytes())
    for name in properties():
        concrete(name)  # KeyError: it has none


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.property)
def test_a_bad_value_is_refused_with_its_code_and_pointer(bad: Bad) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(json.dumps(replace(copy.deepcopy(WHOLE), bad.at, bad.value)).encode())
    assert (caught.value.code, caught.value.at) == (bad.code, bad.pointer)
