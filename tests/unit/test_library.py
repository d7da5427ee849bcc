"""The library's types are those of its callers' checkers too, and its names are loaded when they are asked for."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

import pytest

import ocirt
from ocirt import library
from ocirt.errors import OcirtError

CALLER = """
from ocirt import Bundle, Container, Finding, OcirtError, PlannedStep

bundle = Bundle.open(".")
findings: list[Finding] = bundle.check()
steps: list[PlannedStep] = bundle.plan("web1", stages=["one"])
container: Container = Container.create(bundle, "web1", timeout=3.0)
status: int = container.exec(["true"], env={"A": "b"}).returncode
code: str = OcirtError("usage", "x").code
wrong: int = container.status
container.kill(signal=None)
bundle.nonesuch
"""


def test_types_for_callers(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api")
    caller = tmp_path / "caller.py"
    caller.write_text(CALLER)
    out, _, _ = api.run(["--strict", "--config-file=", "--no-incremental", "--follow-imports=silent", str(caller)])
    found = [line.split(": error: ")[1].rpartition("[")[2] for line in out.splitlines() if ": error: " in line]
    assert found == ["assignment]", "arg-type]", "attr-defined]"], out


def test_names() -> None:
    assert ocirt.OcirtError is OcirtError
    assert ocirt.Bundle is sys.modules["ocirt.library"].Bundle
    with pytest.raises(AttributeError, match="module 'ocirt' has no attribute 'nonesuch'"):
        ocirt.nonesuch  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize(("verb", "inside"), [("plan", "make_plan"), ("check", "examine")])
def test_one_thread_looks_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, inside: str) -> None:
    """For there is one place where warnings go.  The same thread may look again."""
    (tmp_path / "config.json").write_text(json.dumps({"ociVersion": "1.3.0", "root": {"path": "rootfs"}}))
    bundle = library.Bundle.open(tmp_path)
    free: list[bool] = []
    looked = []
    real = getattr(library, inside)

    def look(*arguments: object) -> object:
        other = threading.Thread(target=lambda: free.append(library._looking.acquire(blocking=False)))
        other.start()
        other.join()
        monkeypatch.setattr(library, inside, real)
        looked.append(bundle.check())
        return real(*arguments)

    monkeypatch.setattr(library, inside, look)
    getattr(bundle, verb)()
    assert free == [False]
    assert len(looked) == 1
    assert library._looking.acquire(blocking=False)
    library._looking.release()
