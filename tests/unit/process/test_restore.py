"""What is decided before CRIU is asked to restore."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ocirt.config.views import Config
from ocirt.errors import OcirtError
from ocirt.process.restore import inherited_streams, joined_namespaces


def config(*namespaces: dict[str, Any]) -> Config:
    return Config({"ociVersion": "1.3.0", "linux": {"namespaces": list(namespaces)}})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('["pipe:[7]", "pipe:[8]", "file[1f:5d]"]', [("pipe:[7]", 0), ("pipe:[8]", 1), ("file[1f:5d]", 2)]),
        ('["/dev/null", "pipe:[8]", "pipe:[8]"]', [("pipe:[8]", 1)]),
        ("[]", []),
    ],
)
def test_ours_take_the_place_of_pipes_and_files(tmp_path: Path, text: str, found: list[tuple[str, int]]) -> None:
    (tmp_path / "descriptors.json").write_text(text)
    assert inherited_streams(str(tmp_path)) == [{"key": key, "fd": fd} for key, fd in found]


@pytest.mark.parametrize("text", ["{}", "[1]", "[", '"x"'])
def test_a_damaged_list(tmp_path: Path, text: str) -> None:
    (tmp_path / "descriptors.json").write_text(text)
    with pytest.raises(OcirtError, match=r"descriptors\.json is damaged: ") as caught:
        inherited_streams(str(tmp_path))
    assert caught.value.code == "criu"


def test_no_images(tmp_path: Path) -> None:
    with pytest.raises(OcirtError, match=r"^no checkpoint in ") as caught:
        inherited_streams(str(tmp_path))
    assert (caught.value.code, caught.value.remedy) == ("criu", "--image-path names the directory")


def test_namespaces_that_criu_joins_by_itself() -> None:
    found = joined_namespaces(
        config(
            {"type": "network", "path": "/n"},
            {"type": "pid", "path": "/p"},
            {"type": "ipc", "path": "/i"},
            {"type": "uts", "path": "/u"},
            {"type": "mount"},
        )
    )
    assert found == [{"ns": "ipc", "ns_file": "/i"}, {"ns": "uts", "ns_file": "/u"}]


@pytest.mark.parametrize("kind", ["cgroup", "mount"])
def test_namespaces_that_criu_cannot_join(kind: str) -> None:
    with pytest.raises(OcirtError, match=f"^CRIU cannot restore into an existing {kind} namespace$") as caught:
        joined_namespaces(config({"type": "uts"}, {"type": kind, "path": "/x"}))
    assert (caught.value.code, caught.value.at) == ("unsupported", "/linux/namespaces/1")
