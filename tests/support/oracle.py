"""What `jsonschema` says of a value: the second opinion that the tests hold ocirt.config.schema to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft4Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

ROOT = Path(__file__).parents[2]
OURS = ROOT / "spec" / "schema"
OFFICIAL = ROOT / "tests" / "configs" / "official" / "schema"


def validator(directory: Path, name: str) -> Draft4Validator:
    """The validator of the schema called name, with its neighbours for $ref.  Slow to build: keep it."""
    files = {file.name: json.loads(file.read_text()) for file in directory.glob("*.json")}
    resources = [(key, Resource.from_contents(contents, DRAFT4)) for key, contents in files.items()]
    registry: Registry[Any] = Registry().with_resources(resources)
    return Draft4Validator(files[name], registry=registry)


def pointers(oracle: Draft4Validator, value: object) -> set[str]:
    """The JSON pointers of all contradictions, those inside anyOf too; empty when value is valid."""
    found: set[str] = set()
    waiting: list[ValidationError] = list(oracle.iter_errors(value))
    while waiting:
        error = waiting.pop()
        waiting += error.context or ()
        found.add("".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in error.absolute_path))
    return found
