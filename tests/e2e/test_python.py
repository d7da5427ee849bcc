"""That ocirt is Python must not show: not the caller's PYTHON*, not the bundle's files, not the container's."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import Runtime

pytestmark = pytest.mark.only_ocirt("they are no Python programs")

EVIL = "import os\nos.close(os.open({marker!r}, os.O_CREAT | os.O_WRONLY))\nraise SystemExit(99)\n"
_MODULES = """
    _ctypes _json abc argparse array codecs collections contextlib ctypes dataclasses encodings enum errno fcntl
    functools grp importlib io json linecache locale ntpath ocirt os pathlib posixpath pwd re runpy select
    shutil signal site sitecustomize socket stat struct subprocess sys tempfile time traceback typing
    usercustomize warnings
"""
MODULES = _MODULES.split()


class EvilModules:
    """A directory of modules that leave a marker when imported."""

    def __init__(self, directory: Path) -> None:
        self.path = directory
        self.marker = directory.parent / f"{directory.name}-was-imported"
        directory.mkdir(parents=True, exist_ok=True)
        self.fill(directory, str(self.marker))

    @staticmethod
    def fill(directory: Path, marker: str) -> None:
        for name in MODULES:
            (directory / f"{name}.py").write_text(EVIL.format(marker=marker))

    def assert_not_imported(self) -> None:
        assert not self.marker.exists()


@pytest.fixture
def evil(tmp_path: Path) -> EvilModules:
    return EvilModules(tmp_path / "evil")


def environments(evil: EvilModules) -> dict[str, dict[str, str]]:
    path = {"PATH": os.environ["PATH"]}
    (evil.path / "startup.py").write_text(EVIL.format(marker=str(evil.marker)))
    (evil.path / "bin").mkdir(exist_ok=True)
    for name in ("python3", "env", "sh", "ps"):
        (evil.path / "bin" / name).write_text(f"#!/bin/sh\n: > {evil.marker}\nexit 98\n")
        (evil.path / "bin" / name).chmod(0o755)
    return {
        "PYTHONPATH": {**path, "PYTHONPATH": str(evil.path)},
        "PYTHONHOME": {**path, "PYTHONHOME": str(evil.path)},
        "PYTHONSTARTUP": {**path, "PYTHONSTARTUP": str(evil.path / "startup.py"), "PYTHONINSPECT": "1"},
        "PYTHONWARNINGS": {**path, "PYTHONPATH": str(evil.path), "PYTHONWARNINGS": "ignore::json.Evil"},
        "PYTHONUSERBASE": {**path, "PYTHONUSERBASE": str(evil.path), "HOME": str(evil.path)},
        "others": {
            **path,
            "PYTHONDEVMODE": "1",
            "PYTHONVERBOSE": "1",
            "PYTHONUTF8": "0",
            "PYTHONIOENCODING": "utf-16",
            "PYTHONMALLOC": "debug",
            "PYTHONOPTIMIZE": "2",
            "PYTHONPYCACHEPREFIX": str(evil.path / "cache"),
            "PYTHONTRACEMALLOC": "5",
            "PYTHONBREAKPOINT": "json.Evil",
        },
        "nothing": {},
        "PATH": {"PATH": f"{evil.path}/bin"},
        "locale": {**path, "LC_ALL": "tr_TR.ISO-8859-9", "LANG": "xx_XX.utf-16", "LANGUAGE": "de"},
    }


CASES = ["PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONWARNINGS", "PYTHONUSERBASE", "others", "nothing", "PATH"]


@pytest.mark.parametrize("case", [*CASES, "locale"])
def test_environment_of_the_caller(runtime: Runtime, bundle: Bundle, evil: EvilModules, case: str) -> None:
    env = environments(evil)[case]
    bundle.script("echo ünïcode; exit 7")
    reference = "ünïcode\n"
    result = runtime.run(bundle, env=env)
    assert (result.code, result.out, result.err) == (7, reference, "")
    runtime.create(bundle.args("/bin/probe", "pause"), env=env)
    assert runtime.ok("start", bundle.id, env=env).err == ""
    assert runtime.ok("exec", bundle.id, "echo", "in", env=env).out == "in\n"
    assert runtime.ok("state", bundle.id, env=env).err == ""
    failed = runtime.fails("exec", bundle.id, "/none", code=255, env=env)
    assert len(failed.err.splitlines()) == 1
    runtime.stop(bundle)
    evil.assert_not_imported()
    assert not (evil.path / "cache").exists()


def test_modules_in_the_bundle_and_the_callers_directory(runtime: Runtime, bundle: Bundle) -> None:
    marker = bundle.path / "was-imported"
    EvilModules.fill(bundle.path, str(marker))
    (bundle.path / "ocirt").mkdir()
    (bundle.path / "ocirt/__init__.py").write_text(EVIL.format(marker=str(marker)))
    bundle.script("echo ran").save()
    assert runtime.call("run", bundle.id, cwd=bundle.path).out == "ran\n"
    assert runtime.ok("list", cwd=bundle.path).err == ""
    assert not marker.exists()


def fake_library(bundle: Bundle) -> None:
    """Every place the interpreter could look at after the root changed, full of markers."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for directory in (
        "/usr/lib/python3.11",
        f"/usr/lib/python{version}",
        f"/usr/lib/python{version}/encodings",
        f"/usr/lib/python{version}/lib-dynload",
        "/usr/lib/python3/dist-packages",
        "/usr/local/lib/python3.11/dist-packages",
        str(Path(__file__).resolve().parents[2]),
        "",
    ):
        path = bundle.root / directory.lstrip("/")
        path.mkdir(parents=True, exist_ok=True)
        EvilModules.fill(path, "/was-imported")
    (bundle.root / "etc/nsswitch.conf").write_text("passwd: evil\ngroup: evil\nhosts: evil\n")


@pytest.mark.parametrize("user", [{"uid": 0, "gid": 0}, {"uid": 1000, "gid": 1000, "additionalGids": [5]}])
def test_library_of_the_container_is_never_imported(runtime: Runtime, bundle: Bundle, user: dict) -> None:
    fake_library(bundle)
    bundle.process["user"] = user
    runtime.create(bundle.args("/bin/probe", "pause"))
    runtime.start(bundle)
    runtime.ok("exec", bundle.id, "true")
    runtime.fails("exec", bundle.id, "/none", code=255)
    runtime.fails("exec", "--cwd", "/etc/passwd", bundle.id, "true", code=255)
    runtime.stop(bundle)
    assert not (bundle.root / "was-imported").exists()


@pytest.mark.parametrize(
    "break_it",
    [
        lambda b: b.args("/none"),
        lambda b: b.args("none"),
        lambda b: b.process.update(cwd="/etc/passwd"),
        lambda b: b.mount("/mnt", "nonesuchfs", "x"),
        lambda b: b.mount("/etc/passwd/x", "tmpfs", "tmpfs"),
        lambda b: b.hook("startContainer", "/none"),
        lambda b: b.linux.update(sysctl={"net.ipv4.nonesuch": "1"}),
        lambda b: b.process.update(args=["/etc/pässwd\x1b"]),
    ],
)
def test_nor_when_something_fails(runtime: Runtime, bundle: Bundle, break_it) -> None:  # type: ignore[no-untyped-def]
    fake_library(bundle)
    break_it(bundle)
    result = runtime.run(bundle)
    assert result.code == 1
    assert len(result.err.splitlines()) == 1
    assert not (bundle.root / "was-imported").exists()


def test_locale_of_the_runtime_does_not_reach_the_payload(runtime: Runtime, bundle: Bundle) -> None:
    """Under `env -i` Python adds LC_CTYPE to its environment."""
    out = runtime.run(bundle.args("/bin/cat", "/proc/self/environ"), env={}).out
    assert "LC_CTYPE" not in out


def test_nothing_is_compiled_into_the_tree(runtime: Runtime, bundle: Bundle, evil: EvilModules) -> None:
    runtime.run(bundle.script("true"), cwd=evil.path)
    assert not (evil.path / "__pycache__").exists()


def test_limits_of_the_caller(runtime: Runtime, bundle: Bundle) -> None:
    """A tight caller gets an error or a container, never a traceback."""
    bundle.process["rlimits"] = []
    for prelude in ("ulimit -v 65536", "ulimit -n 16", "ulimit -s 256"):
        result = runtime.after(prelude).run(bundle.script("echo ran"))
        assert "Traceback" not in result.err, prelude
        assert (result.code, result.out) in ((0, "ran\n"), (1, "")), (prelude, result)
