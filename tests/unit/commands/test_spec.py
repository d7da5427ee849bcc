"""spec: the example is a valid configuration, close to runc's, and is never written over another."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ocirt.commands import spec
from ocirt.config.bundle import read_config
from ocirt.errors import OcirtError
from tests.support import records


def test_writes_into_the_bundle(tmp_path: Path) -> None:
    assert records.run(spec, tmp_path, "--bundle", str(tmp_path)) == 0
    written = json.loads((tmp_path / "config.json").read_text())
    assert list(written) == ["ociVersion", "process", "root", "hostname", "mounts", "linux"]
    assert written == spec.example(None, os.path.exists("/sys/fs/cgroup/cgroup.controllers"))


def test_default_is_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert records.run(spec, tmp_path, "--rootless") == 0
    mapping = json.loads((tmp_path / "config.json").read_text())["linux"]["uidMappings"]
    assert mapping == [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]


def test_existing_file_stays(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("mine")
    with pytest.raises(OcirtError) as caught:
        records.run(spec, tmp_path, "-b", str(tmp_path))
    assert (caught.value.code, caught.value.what) == ("bundle", "File config.json exists. Remove it first")
    assert (tmp_path / "config.json").read_text() == "mine"


@pytest.mark.parametrize("ids", [None, (1000, 100)])
@pytest.mark.parametrize("on_v2", [False, True])
def test_examples_are_valid(ids: tuple[int, int] | None, on_v2: bool) -> None:
    config = read_config(json.dumps(spec.example(ids, on_v2)).encode())
    linux = config.linux
    assert linux is not None
    kinds = {namespace.type for namespace in linux.namespaces}
    assert kinds == {"pid", "ipc", "uts", "mount"} | ({"user"} if ids else {"network"}) | (
        {"cgroup"} if on_v2 else set()
    )


def test_privileged_example() -> None:
    example = spec.example(None, on_v2=False)
    process, linux = example["process"], example["linux"]
    assert (process["terminal"], process["args"], process["cwd"]) == (True, ["sh"], "/")
    assert process["noNewPrivileges"] is True
    assert set(process["capabilities"]) == {"bounding", "effective", "permitted"}
    assert process["rlimits"] == [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}]
    assert [mount["destination"] for mount in example["mounts"]] == [
        "/proc",
        "/dev",
        "/dev/pts",
        "/dev/shm",
        "/dev/mqueue",
        "/sys",
        "/sys/fs/cgroup",
    ]
    assert linux["resources"] == {"devices": [{"allow": False, "access": "rwm"}]}
    assert "uidMappings" not in linux


def test_rootless_example() -> None:
    example = spec.example((1000, 100), on_v2=False)
    linux, mounts = example["linux"], {mount["destination"]: mount for mount in example["mounts"]}
    assert "resources" not in linux
    assert linux["gidMappings"] == [{"containerID": 0, "hostID": 100, "size": 1}]
    assert mounts["/sys"] == {
        "destination": "/sys",
        "type": "none",
        "source": "/sys",
        "options": ["rbind", "nosuid", "noexec", "nodev", "ro"],
    }
    assert not [
        option for mount in example["mounts"] for option in mount.get("options", ()) if option.startswith("gid=")
    ]
