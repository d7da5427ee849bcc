"""What only root may ask for."""

from __future__ import annotations

from typing import Any

import pytest

from ocirt.config.checks_rootless import check
from ocirt.config.views import Config
from ocirt.errors import ConfigError

ONE = [{"containerID": 0, "hostID": 1000, "size": 1}]
USER = {"namespaces": [{"type": "user"}], "uidMappings": ONE, "gidMappings": [*ONE, {**ONE[0], "containerID": 100}]}


def config(*options: str, **linux: Any) -> Config:
    return Config({"mounts": [{"destination": "/a", "options": list(options)}], "linux": linux or USER})


def refusal(value: Config) -> tuple[str, str]:
    with pytest.raises(ConfigError) as caught:
        check(value)
    assert caught.value.code == "rule"
    assert caught.value.remedy
    return caught.value.what, caught.value.at


@pytest.mark.parametrize("value", [Config({}), config(namespaces=[{"type": "pid"}])])
def test_without_a_user_namespace(value: Config) -> None:
    assert refusal(value) == ("rootless container requires user namespaces", "/linux/namespaces")


@pytest.mark.parametrize(("option", "kind"), [("gid=5", "gid"), ("uid=1", "uid"), ("gid=101", "gid")])
def test_a_mount_of_an_id_that_is_not_mapped(option: str, kind: str) -> None:
    what = f"cannot specify {kind}= mount options for unmapped {kind} in rootless containers"
    assert refusal(config("ro", option)) == (what, "/mounts/0/options")


@pytest.mark.parametrize("option", ["gid=0", "gid=100", "uid=0", "mode=5", "uid=x", "gid=" + 5000 * "9"])
def test_other_options_pass(option: str) -> None:
    check(config(option))


def test_the_maps_of_a_joined_user_namespace_are_not_known() -> None:
    check(config("gid=5", namespaces=[{"type": "user", "path": "/u"}]))


@pytest.mark.parametrize(
    ("mount", "at"),
    [
        ({"options": ["bind", "idmap"]}, "/mounts/0/options"),
        ({"options": ["bind", "ridmap=uids=0-0-1;gids=0-0-1"]}, "/mounts/0/options"),
        ({"options": ["bind"], "uidMappings": ONE, "gidMappings": ONE}, "/mounts/0/uidMappings"),
    ],
)
@pytest.mark.parametrize("linux", [USER, {"namespaces": [{"type": "user", "path": "/u"}]}])
def test_mapped_mounts(mount: dict[str, Any], at: str, linux: dict[str, Any]) -> None:
    value = Config({"mounts": [{"destination": "/a", **mount}], "linux": linux})
    assert refusal(value) == ("id-mapped mounts are not supported for rootless containers", at)
