"""spec/properties.toml: every property of config.json, the tests of its effect, and a value that is refused."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "spec" / "schema"
EVERY = ROOT / "tests" / "configs" / "good" / "every-property.json"
TABLE: list[dict[str, Any]] = tomllib.loads((ROOT / "spec" / "properties.toml").read_text())["property"]


class Bad:
    """A value that is refused.

    property: as the schema has it, with * for elements.  at: where it is put in every-property.json.
    value:    what is put there.  code, pointer: of the error.
    """

    def __init__(self, name: str, entry: dict[str, Any]) -> None:
        self.property = name
        self.at = concrete(name) + entry.get("below", "")
        self.value = entry["bad"]
        self.code = entry["code"]
        self.pointer = entry.get("at", self.at)

    def __repr__(self) -> str:
        return f"{self.at}: {self.value!r}"


def every_property() -> Any:
    """A configuration in which every property has a value, all of them valid."""
    return json.loads(EVERY.read_text())


def concrete(name: str) -> str:
    """The pointer of a property in every-property.json: its first element, its first name."""
    node, at = every_property(), ""
    for step in name.split("/")[1:]:
        first = next(iter(node)) if isinstance(node, dict) else 0
        key = first if step == "*" else step
        node = node[key]
        at += f"/{key}"
    return at


def replace(value: Any, pointer: str, new: Any) -> Any:
    """value with something else at pointer."""
    *steps, last = pointer.split("/")[1:]
    node = value
    for step in steps:
        node = node[int(step)] if isinstance(node, list) else node[step]
    node[int(last) if isinstance(node, list) else last] = new
    return value


def properties() -> list[str]:
    """Every property of spec/schema that holds no further ones, in its order; sections of other platforms left out."""
    files = {file.name: json.loads(file.read_text()) for file in SCHEMA.glob("*.json")}

    def resolved(node: dict[str, Any], file: str) -> tuple[dict[str, Any], str]:
        while "$ref" in node:
            target, _, path = node["$ref"].partition("#")
            file = target or file
            node = files[file]
            for step in path.split("/")[1:]:
                node = node[step]
        return node, file

    def is_leaf(node: dict[str, Any]) -> bool:
        return "properties" not in node and node.get("type") != "array" and not isinstance(inner(node), dict)

    def inner(node: dict[str, Any]) -> Any:
        return node.get("items", node.get("additionalProperties"))

    def walk(node: dict[str, Any], file: str, at: str) -> list[str]:
        node, file = resolved(node, file)
        if file == "elsewhere.json":
            return []
        if "properties" in node:
            return [name for key, member in node["properties"].items() for name in walk(member, file, f"{at}/{key}")]
        if isinstance(inner(node), dict):
            below, below_file = resolved(inner(node), file)
            if not is_leaf(below):
                return walk(below, below_file, f"{at}/*")
        return [at]

    return walk(files["config.json"], "config.json", "")


BAD = [Bad(name, entry) for entry in TABLE for name in entry["names"]]
