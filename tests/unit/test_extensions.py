"""Stages of others: found by entry points, put into their places, and refused when they are not what they should be."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocirt import extensions
from ocirt.config.views import Config
from ocirt.errors import OcirtError
from ocirt.host import Host
from ocirt.plan import Options, make_plan
from tests.support import stages

CONFIG = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs"},
    "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["true"]},
    "linux": {"namespaces": [{"type": "mount"}]},
}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """In a directory that the launcher leaves out, as it does with site-packages."""
    stages.install(tmp_path / "packages")
    monkeypatch.setattr(extensions, "package_directories", lambda standard: [str(tmp_path / "packages")])
    yield tmp_path / "packages"
    sys.modules.pop("otherstages", None)


def planned(*names: str) -> list[tuple[str, str, str]]:
    options = Options("web1", "/bundle", extensions=extensions.load(list(names)))
    plan = make_plan(Config(CONFIG), Host(cgroup="v2"), options)
    return [(stage.place, stage.name, step.describe()) for stage in plan.stages for step in stage.steps]


def test_off_unless_asked_for(installed: Path) -> None:
    assert extensions.load([]) == ()
    assert not any("note" in words for _, _, words in planned())
    assert "otherstages" not in sys.modules


def test_places(installed: Path) -> None:
    before = list(sys.path)
    plan = planned("on-the-host", "inside", "at-start", "inside")
    assert sys.path == before
    noted = [i for i, (_, _, words) in enumerate(plan) if words.startswith("note")]
    assert [plan[i] for i in noted] == [
        ("host", "on-the-host", "note it in /bundle/noted"),
        ("init", "inside", "note it in /tmp/noted"),
        ("start", "at-start", "note it in /tmp/noted"),
    ]
    assert plan[noted[1] - 1][1] == "pivot_root"
    assert plan[noted[2] + 1][1] == "exec"
    assert {stage for place, stage, _ in plan[: noted[0]] if place != "host"} == set()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nonesuch", 'no stage "nonesuch" is installed'),
        ("nowhere", "its PLACE is none of host, beside, init, start"),
        ("no-stage", "its PLACE is none of"),
        ("after-nothing", "the place init has no stage nonesuch, it has cgroup, namespaces, prepare,"),
        ("no-steps", "what steps() yields is no ocirt.pipeline.Step"),
        ("broken", "its steps cannot be planned: AttributeError"),
        ("lost", "it cannot be loaded: AttributeError"),
        ("gone", "it cannot be loaded: ModuleNotFoundError"),
    ],
)
def test_refused(installed: Path, name: str, says: str) -> None:
    with pytest.raises(OcirtError) as caught:
        planned(name)
    assert caught.value.code == "usage"
    assert says in caught.value.what


def test_what_others_can_write_is_not_loaded(installed: Path) -> None:
    (installed / "otherstages.py").chmod(0o666)
    with pytest.raises(OcirtError, match=r"otherstages\.py can be written by others"):
        planned("inside")
    assert "otherstages" not in sys.modules


def test_one_name_of_two_packages(installed: Path) -> None:
    about = installed / "more-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: more\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[ocirt.stages]\ninside = more:stage\n")
    with pytest.raises(OcirtError, match="several are installed: more:stage, otherstages:inside"):
        planned("inside")
