"""ocirt.config.schema against `jsonschema`, over the project's schema and over the official one; and what the native
launcher has in its place against it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft4Validator

from ocirt import log
from ocirt.config import schema
from ocirt.errors import ConfigError
from tests.support import cmodule
from tests.support.mutation import SCALARS, mutated
from tests.support.oracle import OFFICIAL, OURS, ROOT, pointers, validator

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = ROOT / "tests" / "configs" / "official"
OFFICIAL_NAME = {"config": "config-schema.json", "state": "state-schema.json", "features": "features-schema.json"}
OTHER_PLATFORMS = ("freebsd", "solaris", "vm", "windows", "zos")  # ours holds little of what these contain
BATCHES, BATCH = 20, 500

Native = Callable[[object, Any], bool]


@pytest.fixture(scope="module")
def ours() -> dict[str, Draft4Validator]:
    return {kind: validator(OURS, f"{kind}.json") for kind in schema.shapes.KINDS}


@pytest.fixture(scope="module")
def official() -> dict[str, Draft4Validator]:
    return {kind: validator(OFFICIAL, name) for kind, name in OFFICIAL_NAME.items()}


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Native:
    """The native launcher's."""
    module = cmodule.load(cmodule.compiled(tmp_path_factory.mktemp("native"), "shape.c", "SHAPE", "-O1"))
    return lambda value, shape: module.has_shape(value, shape, schema.PATTERNS)


@pytest.fixture(autouse=True)
def _both(native: Native, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test that validates asks both, and fails where they do not agree."""

    def agreed(value: object, shape: Any) -> bool:
        found: list[ConfigError] = []
        schema._check(value, shape, "", found.append)
        assert native(value, shape) is not bool(found), (value, found)
        return False

    monkeypatch.setattr(schema, "_is_right", agreed)


def load(file: Path) -> Any:
    return json.loads(file.read_text())


def seeds() -> list[Any]:
    files = [*(ROOT / "tests/configs/good").glob("*.json"), *(EXAMPLES / "config/good").glob("*.json")]
    values = [load(file) for file in sorted(files, key=lambda file: (file.stat().st_size, file.name))]
    return [value for value in values if not any(name in value for name in OTHER_PLATFORMS)]


def verdict(value: object, kind: str = "config") -> str | None:
    """The pointer of the first error, None when there is none."""
    try:
        schema.validate(value, kind)
    except ConfigError as error:
        return error.at if error.code == "schema" else f"not a schema error: {error.code}"
    return None


def is_wider(value: Any) -> bool:
    """Whether value has what ours accepts and the official schema refuses: the r forms of runc."""
    linux = value.get("linux") if isinstance(value, dict) else None
    return isinstance(linux, dict) and linux.get("rootfsPropagation") in (
        "rprivate",
        "rshared",
        "rslave",
        "runbindable",
    )


@pytest.mark.parametrize("kind", OFFICIAL_NAME)
@pytest.mark.parametrize("side", ["good", "bad"])
def test_official_examples_get_the_official_verdict(
    kind: str, side: str, ours: dict[str, Draft4Validator], official: dict[str, Draft4Validator]
) -> None:
    files = [file for file in (EXAMPLES / kind / side).glob("*.json") if file.name != "invalid-json.json"]
    assert files or (kind, side) == ("state", "bad")
    for file in files:
        value = load(file)
        found = verdict(value, kind)
        assert (found is None) == (side == "good"), file
        for oracle in (ours[kind], official[kind]):
            assert (found in pointers(oracle, value)) if side == "bad" else not pointers(oracle, value), file


@pytest.mark.parametrize("batch", range(BATCHES))
def test_mutated_configs_get_the_verdict_of_jsonschema(
    batch: int, ours: dict[str, Draft4Validator], official: dict[str, Draft4Validator]
) -> None:
    random = Random(f"config {batch}")
    values, refused = seeds(), 0
    for _ in range(BATCH):
        value = mutated(random.choice(values), random)
        refused += agree(ours["config"], value) is not None
        if not is_wider(value):
            agree(official["config"], value)
    assert BATCH / 4 < refused < BATCH, "the mutations should make some configs bad and leave some good"


def test_every_property_with_every_kind_of_value(ours: dict[str, Draft4Validator]) -> None:
    """Each property that the examples have: taken away once, and given values of every type."""
    tried: set[str] = set()
    types = (None, True, 1.0, "", {}, [], [0], ["x"])
    for value in seeds():
        for holder, key, name in properties(value):
            if name in tried:
                continue
            tried.add(name)
            old = holder.pop(key)
            agree(ours["config"], value)
            for other in (*types, *Random(name).sample(SCALARS, 6)):
                holder[key] = other
                agree(ours["config"], value)
            holder[key] = old
    assert len(tried) > 230


def properties(value: Any, name: str = "") -> Iterator[tuple[dict[str, Any], str, str]]:
    """All (object, key, path with * for an index) in value."""
    if isinstance(value, dict):
        for key in list(value):
            yield value, key, f"{name}/{key}"
            yield from properties(value[key], f"{name}/{key}")
    elif isinstance(value, list):
        for item in value:
            yield from properties(item, f"{name}/*")


def agree(oracle: Draft4Validator, value: object, kind: str = "config") -> str | None:
    """Hold our verdict to the oracle's; returns ours."""
    found, expected = verdict(value, kind), pointers(oracle, value)
    assert (found in expected) if expected else (found is None), (value, found, expected)
    return found


@pytest.mark.parametrize("kind", ["process", "resources", "state", "features"])
def test_mutated_documents_get_the_verdict_of_jsonschema(kind: str, ours: dict[str, Draft4Validator]) -> None:
    random = Random(kind)
    example = load(EXAMPLES / "config/good/spec-example.json")
    start = {"process": example["process"], "resources": example["linux"]["resources"]}
    value = start.get(kind) or load(next((EXAMPLES / kind / "good").glob("[rs]*.json")))
    assert verdict(value, kind) is None
    for _ in range(200):
        agree(ours[kind], mutated(value, random), kind)


def test_the_end_of_a_pattern_is_the_end_of_the_text() -> None:
    # Python's re lets $ match before a last newline, ECMA's does not
    value = {"ociVersion": "1.0.0", "linux": {"resources": {"hugepageLimits": [{"pageSize": "2MB\n", "limit": 1}]}}}
    assert verdict(value) == "/linux/resources/hugepageLimits/0/pageSize"


def test_first_error_in_document_order() -> None:
    assert verdict({"ociVersion": "1.0.0", "mounts": [{}], "hostname": 1}) == "/mounts/0"
    assert verdict({"ociVersion": "1.0.0", "hostname": 1, "mounts": [{}]}) == "/hostname"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "true"), (None, "null"), ("a\nb", '"a\\nb"'), ("x" * 70, '"' + "x" * 57 + '..."'), ([1], "an array"),
        ({}, "an object"), (1.5, "1.5"), (-7, "-7"), (10**39, "1" + "0" * 39),
        (10**40, "a number of more than 40 digits"),
    ],
)  # fmt: skip
def test_found_shows_any_value_in_a_few_words(value: object, shown: str) -> None:
    assert schema.found(value) == shown


def test_found_does_not_ask_python_to_print_a_number_of_5000_digits() -> None:
    assert schema.found(-(10**5000)) == "a number of more than 40 digits"


def test_unknown_properties_are_told_when_debugging(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(log, "debugging", True)
    monkeypatch.setattr(log, "debug", lines.append)
    schema.validate({"ociVersion": "1.0.0", "a/b": 1, "process": {"cwd": "/", "later": {"x": 1}}})
    assert lines == ["unknown property /a~1b is ignored", "unknown property /process/later is ignored"]


def test_a_verdict_of_the_native_launcher_is_the_last_word_but_when_debugging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_is_right", lambda value, shape: True)
    assert verdict({}) is None
    monkeypatch.setattr(log, "debugging", True)
    assert verdict({}) == ""
