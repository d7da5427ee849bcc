"""What is decided before CRIU is asked to restore."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ocirt.cgroups.v2 import V2Manager
from ocirt.config.views import Config
from ocirt.errors import OcirtError
from ocirt.host import Host
from ocirt.process.criu import Directories
from ocirt.process.restore import Restore, inherited_streams, joined_namespaces, require_new


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


def test_strict_mode_wants_every_cgroup_new() -> None:
    paths = {"": "/sys/fs/cgroup/a/b"}
    require_new(V2Manager(paths, ["/sys/fs/cgroup/a", "/sys/fs/cgroup/a/b"]))
    with pytest.raises(OcirtError, match=r"^the cgroup /sys/fs/cgroup/a/b is there already") as caught:
        require_new(V2Manager(paths, ["/sys/fs/cgroup/a"]))
    assert caught.value.code == "criu"


def decided(tmp_path: Path, mode: int, *namespaces: str, **fields: Any) -> Restore:
    (tmp_path / "descriptors.json").write_text("[]")
    directories = Directories(str(tmp_path), "", "restore.log", "")
    value = config(*({"type": kind} for kind in namespaces))
    return Restore(value, b"", "/b", Host(), directories, {"manage_cgroups_mode": mode, **fields})


@pytest.mark.parametrize(("mode", "told"), [(3, 3), (4, 4), (5, 4), (0, 0)])
def test_criu_is_not_told_of_strict_mode(tmp_path: Path, mode: int, told: int) -> None:
    """It would refuse the cgroup that we have made by then."""
    assert decided(tmp_path, mode).fields["manage_cgroups_mode"] == told


def test_auto_dedup_needs_the_images_themselves(tmp_path: Path) -> None:
    assert decided(tmp_path, 3, "mount", auto_dedup=True).fields["auto_dedup"]
    with pytest.raises(OcirtError, match="--auto-dedup has no effect") as caught:
        decided(tmp_path, 3, "mount", "user", auto_dedup=True)
    assert caught.value.code == "unsupported"
