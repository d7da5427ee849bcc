"""A volume in which another container exchanges directories and links while this one is made (S09, S15, H3).

CVE-2021-30465: a source resolved on the host's root; CVE-2024-45310: a mount point made on the host.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_attacks import Marked
from tests.support.bundles import Bundle
from tests.support.runtime import CHECKOUT, Runtime

RACES = int(os.environ.get("OCIRT_TEST_RACES", "100"))  # creates in all; 2000 for the long form
WAYS = 4


@pytest.fixture(scope="module")
def exchanger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("exchanger") / "exchanger"
    subprocess.run(["gcc", "-O2", "-o", made, CHECKOUT / "tests/support/exchanger.c"], check=True, timeout=60)
    return made


@pytest.fixture
def marked(bundle: Bundle) -> Iterator[Marked]:
    mark = Marked(bundle.path / "outside")
    yield mark
    mark.assert_unchanged()


@pytest.fixture
def volume(bundle: Bundle) -> Path:
    """Bound on /vol: a is a directory, b a link that leads out."""
    path = bundle.path / "vol"
    (path / "a").mkdir(parents=True)
    (bundle.path / "bound").write_text("bound\n")
    bundle.bind(path, "/vol")
    return path


@pytest.mark.parametrize("link", ["absolute", "relative"])
@pytest.mark.parametrize("target", ["/vol/a/new", "/vol/a/x/y/new"])
def test_exchanged_while_mounts_are_made(
    runtime: Runtime, bundle: Bundle, marked: Marked, volume: Path, exchanger: Path, link: str, target: str
) -> None:
    there = {"absolute": str(marked.path), "relative": "../" * 30 + str(marked.path).lstrip("/")}[link]
    (volume / "b").symlink_to(there)
    bundle.mount(target, "tmpfs", "tmpfs").bind(bundle.path / "bound", f"{target}-file")
    bundle.script("ls /vol/a /vol/b; echo started").save()
    names = [str(volume / name) for name in ("a", "b")]
    started = 0
    with subprocess.Popen([exchanger, *names], stdout=subprocess.PIPE) as spinner:
        try:
            assert spinner.stdout is not None
            assert spinner.stdout.readline() == b"exchanging\n"
            for _ in range(RACES // WAYS):
                result = runtime.call("run", "--bundle", str(bundle.path), bundle.id, bound=10)
                assert "Traceback" not in result.err
                assert "ptmx" not in result.out  # of the host's directory
                assert result.code == 0 or len(result.err.splitlines()) == 1, result
                started += "started" in result.out
                marked.assert_unchanged()
            assert spinner.poll() is None
        finally:
            spinner.kill()
    assert started


NAIVE = """
import os, time
from ocirt.kernel import files

def by_name(root, path, mode=0o755, *, directory=True, symlinks=True):
    top = os.readlink(f"/proc/self/fd/{root}")
    if not os.path.realpath(top + path).startswith(top):
        raise files.KernelError(40, "a link that leads out", "realpath")
    time.sleep(0.001)  # a window that does not depend on how busy the machine is
    os.makedirs(top + (path if directory else os.path.dirname(path)), exist_ok=True)
    if not directory:
        open(top + path, "a").close()
    return os.open(top + path, os.O_PATH), True

files.make_in_root = by_name
"""


@pytest.mark.only_ocirt("the control of the test above: who looks first and then goes by the name is caught")
def test_a_mount_point_made_by_name(runtime: Runtime, bundle: Bundle, volume: Path, exchanger: Path) -> None:
    marked = Marked(bundle.path / "outside")
    (volume / "b").symlink_to(marked.path)
    runtime = runtime.weakened(NAIVE)
    bundle.mount("/vol/a/x/y/new", "tmpfs", "tmpfs").script("true").save()
    names = [str(volume / name) for name in ("a", "b")]
    with subprocess.Popen([exchanger, *names], stdout=subprocess.PIPE) as spinner:
        try:
            assert spinner.stdout is not None
            assert spinner.stdout.readline() == b"exchanging\n"
            for _ in range(RACES):
                runtime.call("run", "--bundle", str(bundle.path), bundle.id)
                if not marked.unchanged():
                    break
        finally:
            spinner.kill()
    assert not marked.unchanged()
