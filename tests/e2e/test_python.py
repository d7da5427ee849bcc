"""That ocirt is Python must not show: not the caller's PYTHON*, not the bundle's files, not the container's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.host import Place
from tests.support.runtime import CHECKOUT, Runtime

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


def test_libraries_of_the_container_are_never_loaded(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """P3: what glibc would load for a user's name or another character set, each with a constructor that tells."""
    source = tmp_path / "evil.c"
    source.write_text(
        "#include <fcntl.h>\n"
        '__attribute__((constructor)) static void loaded(void) { open("/was-loaded", O_CREAT | O_WRONLY, 0600); }\n'
    )
    evil = tmp_path / "evil.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", evil, source], check=True, timeout=30)
    for directory in ("lib", "lib64", "usr/lib", "usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"):
        (bundle.root / directory).mkdir(parents=True, exist_ok=True)
        for name in ("libnss_evil.so.2", "libnss_files.so.2", "libgcc_s.so.1", "libc.so.6"):
            shutil.copy(evil, bundle.root / directory / name)
    (bundle.root / "etc/nsswitch.conf").write_text("passwd: evil\ngroup: evil\ninitgroups: evil\nhosts: evil\n")
    bundle.process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [5]}
    runtime.launch(bundle.args("/bin/probe", "pause"))
    runtime.ok("exec", "--user", "1000", bundle.id, "/bin/true")
    runtime.fails("exec", bundle.id, "/nöne", code=255)
    runtime.stop(bundle)
    assert not (bundle.root / "was-loaded").exists()


def test_path_files_of_the_hosts_packages(runtime: Runtime, bundle: Bundle, evil: EvilModules, place: Place) -> None:
    """P5: a .pth file runs code in every Python that looks for packages."""
    (evil.path / "evil.pth").write_text(
        f"import os; os.close(os.open({str(evil.marker)!r}, os.O_CREAT | os.O_WRONLY))\n"
    )
    directories = ("/usr/lib/python3/dist-packages", "/usr/local/lib/python3.11/dist-packages")
    mounted = []
    try:
        for path in filter(os.path.isdir, directories):
            subprocess.run(["mount", "--bind", evil.path, path], check=True, timeout=30)
            mounted.append(path)
        subprocess.run(["/usr/bin/python3", "-I", "-c", ""], check=True, timeout=30)
        assert evil.marker.exists()  # an isolated Python runs it
        evil.marker.unlink()
        assert runtime.inside(bundle, "echo ran") == "ran\n"
    finally:
        for path in mounted:
            subprocess.run(["umount", path], check=True, timeout=30)
    evil.assert_not_imported()


def test_environment_of_the_payload_is_the_payloads_alone(runtime: Runtime, bundle: Bundle) -> None:
    """P7: it is the container's author's; neither the runtime nor a hook may live in it."""
    hook = bundle.path / "hook"
    hook.write_text(f"#!/bin/sh\ncat /proc/$$/environ > {bundle.path}/seen\n")
    hook.chmod(0o755)
    for kind in ("createRuntime", "poststop"):
        bundle.hook(kind, hook, env=["ONLY=this"])
    bundle.process["env"] = ["PATH=/evil:/bin", "LD_PRELOAD=/evil.so", "PYTHONHOME=/evil", "PYTHONPATH=/evil"]
    result = runtime.run(bundle.args("cat", "/proc/self/environ"))
    assert (result.code, "LD_PRELOAD=/evil.so\0" in result.out) == (0, True)
    assert (bundle.path / "seen").read_text() == "ONLY=this\0"


@pytest.mark.parametrize("limit", [1, 2])
def test_no_more_processes_for_the_runtime(runtime: Runtime, bundle: Bundle, place: Place, limit: int) -> None:
    """P24: pids.max of the caller's cgroup: one line, and nothing is left."""
    cgroup = place.cgroup("pids") / "small"
    cgroup.mkdir()
    (cgroup / "pids.max").write_text(str(limit))
    try:
        bundle.linux["cgroupsPath"] = place.path("pids") + "/container"
        result = runtime.after(f"echo 0 > {cgroup}/cgroup.procs").run(bundle.script("echo ran"))
        assert (result.code, result.out) in ((0, "ran\n"), (1, "")), result
        assert len(result.err.splitlines()) == (1 if result.code else 0), result
        assert limit > 1 or result.code == 1
    finally:
        cgroup.rmdir()


def another_python() -> str:
    """Of another version where there is one; at least not the one in the launcher."""
    names = [f"python3.{minor}" for minor in (14, 13, 12)]
    installed = [path for name in names for path in Path.home().glob(f".pyenv/versions/3.*/bin/{name}")]
    found = [path for path in map(shutil.which, names) if path]
    return str([*installed, *found, sys.executable][0])


def test_another_python_takes_over(runtime: Runtime, bundle: Bundle) -> None:
    """P23: what one interpreter records another one reads: state.json is JSON, and holds no bytecode or pickle."""
    runtime.launch(bundle.args("/bin/probe", "pause"))
    record = runtime.root / bundle.id
    other = f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); from ocirt.cli import main; main()"
    for path in record.iterdir():
        if path.is_file():
            json.loads(path.read_text())
    command = [another_python(), "-IB", "-c", other, "--root", str(runtime.root)]
    state = subprocess.run([*command, "state", bundle.id], check=True, capture_output=True, text=True, timeout=30)
    assert json.loads(state.stdout)["status"] == "running"
    subprocess.run([*command, "exec", bundle.id, "/bin/true"], check=True, timeout=30)
    runtime.stop(bundle)
