"""features: the document agrees with the code it describes, and with the official schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ocirt import OCI_VERSION
from ocirt.commands import features
from ocirt.config import mountopts, schema
from ocirt.kernel.questions import seccomp_flag_known
from tests.support import records
from tests.support.oracle import OURS


def document(capfd: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert records.run(features, Path("/nonexistent")) == 0
    out, err = capfd.readouterr()
    assert err == ""  # CRI-O reads both as one
    assert out.startswith('{\n    "ociVersionMin": "1.0.0",\n')
    value: dict[str, object] = json.loads(out)
    return value


def test_document(capfd: pytest.CaptureFixture[str]) -> None:
    value = document(capfd)
    assert (value["ociVersionMin"], value["ociVersionMax"]) == ("1.0.0", OCI_VERSION)
    assert [int(part) for part in OCI_VERSION.split(".")] >= [1, 0, 0]
    assert value["hooks"] == ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
    assert value["mountOptions"] == list(mountopts.RECOGNISED)
    assert "rro" in mountopts.RECOGNISED


def test_valid_by_the_schema(capfd: pytest.CaptureFixture[str]) -> None:
    """The enumerations of spec/schema hold the names that the specification defines."""
    schema.validate(document(capfd), "features")


def test_nothing_is_null() -> None:
    """Absent and null are the same to a reader, and other than false or empty; ocirt says what it knows."""
    waiting: list[object] = [features.features()]
    while waiting:
        value = waiting.pop()
        assert value is not None
        if isinstance(value, dict):
            waiting += value.values()


def test_every_name_is_defined() -> None:
    """By spec/schema, which has features.md and features-linux.md whole."""
    schemas = {file.name: json.loads(file.read_text()) for file in OURS.glob("*.json")}

    def compare(value: object, schema: dict[str, Any], file: str, at: str) -> None:
        if "$ref" in schema:
            target, _, path = schema["$ref"].partition("#")
            node = schemas[target or file]
            for step in path.split("/")[1:]:
                node = node[step]
            compare(value, node, target or file, at)
        elif isinstance(value, dict) and "additionalProperties" not in schema:
            assert set(value) <= set(schema["properties"]), at
            for name, member in value.items():
                compare(member, schema["properties"][name], file, f"{at}/{name}")

    compare(features.features(), schemas["features.json"], "features.json", "")


def test_supported_flags() -> None:
    seccomp = features.features()["linux"]["seccomp"]
    assert set(seccomp["supportedFlags"]) <= set(seccomp["knownFlags"])
    assert "SECCOMP_FILTER_FLAG_LOG" in seccomp["supportedFlags"]  # Linux 4.14


def test_a_flag_the_kernel_does_not_know() -> None:
    assert not seccomp_flag_known(1 << 30)
    assert seccomp_flag_known(0)


def test_cgroups_mounts_and_the_annotations_that_reach_systemd(capfd: pytest.CaptureFixture[str]) -> None:
    value = document(capfd)
    linux = value["linux"]
    assert isinstance(linux, dict)
    assert linux["cgroup"] == {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True}
    assert linux["mountExtensions"] == {"idmap": {"enabled": True}}
    assert value["potentiallyUnsafeConfigAnnotations"] == ["org.systemd.property.", "org.criu.config"]


def test_checkpoints_are_offered_in_runcs_words(capfd: pytest.CaptureFixture[str]) -> None:
    """podman and containerd look at this annotation."""
    annotations = document(capfd)["annotations"]
    assert isinstance(annotations, dict)
    assert annotations["org.opencontainers.runc.checkpoint.enabled"] == "true"
