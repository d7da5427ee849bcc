from __future__ import annotations

import json

import pytest

from ocirt.config import views
from tests.support.oracle import ROOT


@pytest.fixture
def config() -> views.Config:
    return views.Config(json.loads((ROOT / "tests/configs/good/spec-example.json").read_text()))


def test_scalars_objects_arrays_and_maps(config: views.Config) -> None:
    assert config.hostname == "slartibartfast"
    assert config.root.path == "rootfs"
    assert config.process is not None
    assert config.process.user.uid == 1
    assert config.process.user.additional_gids == (5, 6)
    assert config.process.no_new_privileges is True
    assert config.mounts[1].options == ("nosuid", "strictatime", "mode=755", "size=65536k")
    assert config.annotations == {"com.example.key1": "value1", "com.example.key2": "value2"}
    assert config.linux is not None
    assert [namespace.type for namespace in config.linux.namespaces][:2] == ["pid", "network"]


def test_pointers(config: views.Config) -> None:
    assert config.at == ""
    assert config.process is not None
    assert config.process.user.at == "/process/user"
    assert config.process.rlimits[1].at == "/process/rlimits/1"
    assert config.linux is not None
    assert config.linux.resources is not None
    assert config.linux.resources.block_io is not None
    assert config.linux.resources.block_io.weight_device[0].at == "/linux/resources/blockIO/weightDevice/0"


def test_a_file_of_its_own_has_pointers_from_the_file_on() -> None:
    process = views.Process({"cwd": "/", "rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 2}]})
    assert process.rlimits[0].at == "/rlimits/0"


def test_absent_members() -> None:
    config = views.Config({"ociVersion": "1.0.0", "root": {"path": "r"}})
    assert config.process is None
    assert config.linux is None
    assert config.hostname is None
    assert config.mounts == ()
    assert config.annotations == {}
    assert views.Process({"cwd": "/"}).args == ()
    assert views.Linux({}).net_devices == {}
    assert views.Linux({}).sysctl == {}


def test_defaults_of_the_schema() -> None:
    user = views.Process({"cwd": "/"}).user
    assert (user.uid, user.gid, user.umask, user.additional_gids) == (0, 0, None, ())
    assert views.SyscallArg({"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}).value_two == 0


def test_has_tells_an_empty_member_from_an_absent_one() -> None:
    seccomp = views.Seccomp({"defaultAction": "SCMP_ACT_ALLOW", "flags": []})
    assert seccomp.flags == ()
    assert seccomp.has("flags")
    assert not seccomp.has("architectures")


def test_maps_of_objects_escape_their_keys_in_pointers() -> None:
    resources = views.Resources({"rdma": {"a/b~c": {"hcaHandles": 3}}}, "/linux/resources")
    assert resources.rdma["a/b~c"].hca_handles == 3
    assert resources.rdma["a/b~c"].at == "/linux/resources/rdma/a~1b~0c"


def test_time_offsets_have_the_two_clocks_only() -> None:
    linux = views.Linux({"timeOffsets": {"boottime": {"secs": -1}, "realtime": {"secs": 5}}}, "/linux")
    assert {clock: (offset.secs, offset.nanosecs) for clock, offset in linux.time_offsets.items()} == {
        "boottime": (-1, 0)
    }


def test_views_are_read_only() -> None:
    with pytest.raises(AttributeError):
        views.User({}).uid = 0
    with pytest.raises(AttributeError):
        views.User({}).other = 0  # type: ignore[attr-defined]
