from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from spec import generate

GENERATE = Path(generate.__file__)


def test_generated_files_are_fresh() -> None:
    checked = subprocess.run([sys.executable, str(GENERATE), "--check"], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_changed_schema_makes_the_generated_files_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    schemas = tmp_path / "schema"
    schemas.mkdir()
    for file in (generate.HERE / "schema").glob("*.json"):
        (schemas / file.name).write_text(file.read_text().replace('"hostname"', '"hostName"'))
    monkeypatch.setattr(generate, "HERE", tmp_path)
    assert generate.main(["--check"]) == 1
    assert capsys.readouterr().err.count("is stale") == 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("noNewPrivileges", "no_new_privileges"),
        ("execCPUAffinity", "exec_cpu_affinity"),
        ("throttleReadIOPSDevice", "throttle_read_iops_device"),
        ("kernelTCP", "kernel_tcp"),
        ("l3CacheSchema", "l3_cache_schema"),
        ("containerID", "container_id"),
        ("class", "class_"),
    ],
)
def test_snake(name: str, expected: str) -> None:
    assert generate.snake(name) == expected


def test_two_schemas_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(
        json.dumps(
            {
                "type": "object",
                "properties": {
                    "x": {"title": "Thing", "type": "object", "properties": {"a": {"type": "string"}}},
                    "y": {"title": "Thing", "type": "object", "properties": {"b": {"type": "string"}}},
                },
            }
        )
    )
    with pytest.raises(ValueError, match="two different schemas are called THING"):
        generate.Shapes(generate.Schemas(tmp_path)).shape({"$ref": "a.json#"}, "")


def test_a_kind_of_schema_that_has_no_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="type number has no shape"):
        generate.kind_of({"type": "number"})
