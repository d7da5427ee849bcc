"""The option copy-symlink: when a link is made, and what with."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from ocirt.config.views import Config
from ocirt.errors import ConfigError, OcirtError
from ocirt.host import Host
from ocirt.stages.copylink import CopyLink, links
from ocirt.stages.mounts import mount_sources, mounts
from tests.support.recorder import Recorder, kernel_error, recorded_box

ONE = [{"containerID": 0, "hostID": 0, "size": 1}]


def config(*options: str, **members: Any) -> Config:
    mount = {"destination": "/a/b", "source": "link", "options": list(options), **members}
    return Config({"mounts": [mount], "linux": {"namespaces": [{"type": "mount"}, {"type": "user"}]}})


@pytest.fixture
def bundle(tmp_path: Path) -> str:
    (tmp_path / "link").symlink_to("../text")
    (tmp_path / "file").touch()
    return str(tmp_path)


def test_a_link_takes_the_place_of_the_bind(bundle: str) -> None:
    value = config("bind", "copy-symlink")
    found = links(value, bundle)
    assert list(mount_sources(value, bundle, found)) == []
    (step,) = mounts(value, Host(), bundle, found)
    assert (step.at, step.describe()) == ("/mounts/0", f"make the link /a/b to ../text, as {bundle}/link is")


def test_what_is_no_link_is_bound(bundle: str) -> None:
    assert links(config("bind", "copy-symlink", source="file"), bundle) == {}
    assert links(config("bind", "copy-symlink", source="missing"), bundle) == {}
    assert links(config("bind"), bundle) == {}


@pytest.mark.parametrize("value", [config("copy-symlink"), config("bind", "remount", "copy-symlink")])
def test_binds_only(bundle: str, value: Config) -> None:
    with pytest.raises(ConfigError, match="for bind mounts only") as caught:
        links(value, bundle)
    assert caught.value.at == "/mounts/0/options"


def test_a_link_has_no_ids_to_map(bundle: str) -> None:
    with pytest.raises(ConfigError, match="no ids to map") as caught:
        links(config("bind", "copy-symlink", uidMappings=ONE, gidMappings=ONE), bundle)
    assert caught.value.at == "/mounts/0/options"


def made(bundle: str, **answers: Any) -> Recorder:
    box, kernel = recorded_box(**{"mkdir_in_root": 5, "path_of": ["/r", "/r/a"], **answers})
    step = links(config("bind", "copy-symlink"), bundle)[0]
    assert isinstance(step, CopyLink)
    step.apply(box)
    return kernel


def test_the_link_is_made_below_a_descriptor(bundle: str) -> None:
    assert [call for call in made(bundle).calls if call[0] != "path_of"] == [
        ("mkdir_in_root", 1002, "/a"),
        ("symlinkat", "../text", 5, "b"),
        ("close", 5),
    ]


def test_the_same_link_is_kept(bundle: str) -> None:
    kernel = made(bundle, symlinkat=kernel_error(errno.EEXIST, "symlinkat"), readlinkat="../text")
    assert kernel.names()[-1] == "close"


@pytest.mark.parametrize("there", ["../other", kernel_error(errno.EINVAL, "readlinkat")])
def test_another_file_is_not_replaced(bundle: str, there: Any) -> None:
    with pytest.raises(OcirtError, match="another file") as caught:
        made(bundle, symlinkat=kernel_error(errno.EEXIST, "symlinkat"), readlinkat=there)
    assert (caught.value.call, caught.value.errno) == ("symlinkat", errno.EEXIST)


def test_not_inside_proc(bundle: str) -> None:
    with pytest.raises(OcirtError, match="cannot be mounted because it is inside /proc"):
        made(bundle, path_of=["/r", "/r/proc"])
