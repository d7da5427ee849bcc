"""The project's schema says what the official one says, but for the differences listed here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.oracle import OFFICIAL, OURS

# pointer: why ours differs
DIFFERENCES = {
    "/linux/rootfsPropagation": "the r forms are runc's, and Docker writes rslave",
    "/linux/devices/*/type": "an enum where the official schema has a pattern of four letters",
    "/linux/devices/*/fileMode": "config-linux.md says uint32, and engines write st_mode with the file's type",
}
OTHER_PLATFORMS = ("freebsd", "solaris", "vm", "windows", "zos")


class Normal:
    """Brings schemas of either style to one form: nested tuples without $ref, allOf and anyOf."""

    def __init__(self, directory: Path) -> None:
        self.files = {file.name: json.loads(file.read_text()) for file in directory.glob("*.json")}

    def form(self, schema: dict[str, Any], file: str) -> Any:
        if "$ref" in schema:
            target, _, path = schema["$ref"].partition("#")
            node = self.files[target or file]
            for step in path.split("/")[1:]:
                node = node[step]
            return self.form(node, target or file)
        parts = [*schema.get("allOf", ()), *schema.get("anyOf", ())]
        if parts:
            forms = [self.form(part, file) for part in parts]
            return {
                "required": sorted(name for form in forms for name in form["required"]),
                "properties": {name: member for form in forms for name, member in form["properties"].items()},
            }
        if "enum" in schema:
            return ("enum", *sorted(schema["enum"]))
        if "items" in schema:
            return {"items": self.form(schema["items"], file), "least": schema.get("minItems", 0)}
        anything = schema.get("additionalProperties") or schema.get("patternProperties", {}).get(".{1,}")
        if anything:
            return {"any name": self.form(anything, file)}
        if schema["type"] == "object":
            members = schema.get("properties", {})
            return {
                "required": sorted(schema.get("required", ())),
                "properties": {name: self.form(member, file) for name, member in members.items()},
            }
        return (schema["type"], schema.get("minimum"), schema.get("maximum"), schema.get("pattern"))


def differences(ours: Any, official: Any, at: str) -> list[str]:
    """The pointers (* for any index or name) at which the two forms differ."""
    if isinstance(ours, dict) and isinstance(official, dict) and set(ours) == set(official):
        if "properties" not in ours:
            return [found for key in ours for found in differences(ours[key], official[key], f"{at}/*")]
        found = [at] if ours["required"] != official["required"] else []
        for name in {**ours["properties"], **official["properties"]}:
            pair = ours["properties"].get(name), official["properties"].get(name)
            found += differences(*pair, f"{at}/{name}")
        return found
    return [] if ours == official else [at]


def compared(name: str) -> set[str]:
    ours = Normal(OURS).form({"$ref": f"{name}.json#"}, "")
    file = f"{name}-schema.json"
    official = Normal(OFFICIAL).form({"$ref": f"{file}#"}, file)
    for form in (ours, official):
        for platform in OTHER_PLATFORMS:
            form["properties"].pop(platform, None)
    return set(differences(ours, official, ""))


def test_config() -> None:
    assert compared("config") == set(DIFFERENCES)


def test_state() -> None:
    assert compared("state") == {"/status"}  # paused is ours; runtime.md allows more values


def test_features() -> None:
    """These are in features-linux.md, not yet in the official schema."""
    newer = {"/linux/memoryPolicy", "/linux/intelRdt/schemata", "/linux/intelRdt/monitoring"}
    assert compared("features") == newer


def test_what_the_official_enums_have_ours_have() -> None:
    ours = Normal(OURS).form({"$ref": "linux.json#"}, "")["properties"]
    assert {"private", "shared", "slave", "unbindable"} < set(ours["rootfsPropagation"])
    assert set(ours["devices"]["items"]["properties"]["type"]) == {"enum", "c", "b", "u", "p"}
