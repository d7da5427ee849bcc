"""The native launcher's look at a value's shape is safe.  That it is right: tests/unit/config/test_schema.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest

from ocirt.config import schema, shapes
from tests.support import cmodule
from tests.support.mutation import mutated
from tests.support.oracle import ROOT

GOOD = ROOT / "tests/configs/good"


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return cmodule.load(cmodule.compiled(tmp_path_factory.mktemp("native"), "shape.c", "SHAPE", "-O2"))


def rlimit(kind: object) -> dict[str, object]:
    return {"cwd": "/", "rlimits": [{"type": kind, "soft": 1, "hard": 1}]}


def test_a_test_of_a_pattern_is_asked_with_the_value(module: ModuleType) -> None:
    asked: list[object] = []
    tests = {"^RLIMIT_[A-Z]+$": ("", lambda text: asked.append(text) or len(asked) > 1)}
    assert module.has_shape(rlimit("a"), shapes.PROCESS, tests) is False
    assert module.has_shape(rlimit("b"), shapes.PROCESS, tests) is True
    assert module.has_shape(rlimit(1), shapes.PROCESS, tests) is False
    assert asked == ["a", "b"]


def test_what_a_test_raises_is_raised(module: ModuleType) -> None:
    with pytest.raises(ZeroDivisionError):
        module.has_shape(rlimit("a"), shapes.PROCESS, {"^RLIMIT_[A-Z]+$": ("", lambda text: 1 / 0)})


@pytest.mark.parametrize("arguments", [(), ({},), ({}, shapes.ROOT), ({}, shapes.ROOT, None), ({}, shapes.ROOT, {}, 1)])
def test_what_is_no_call_is_refused(module: ModuleType, arguments: tuple[object, ...]) -> None:
    with pytest.raises(TypeError):
        module.has_shape(*arguments)


def test_values_of_classes_of_their_own_do_not_fit(module: ModuleType) -> None:
    """The scanner makes none; so nothing of theirs is called."""
    for kind, shape, value in (
        (str, str, "x"),
        (int, shapes.INT32, 1),
        (dict, shapes.USER, {}),
        (list, shapes.STRINGS, []),
    ):
        assert module.has_shape(value, shape, {}) is True
        assert module.has_shape(type("Own", (kind,), {})(value), shape, {}) is False


def test_it_keeps_no_memory(module: ModuleType) -> None:
    random = Random(5)
    values: list[Any] = [mutated(json.loads(file.read_bytes()), random) for file in sorted(GOOD.glob("*.json"))]

    def look() -> None:
        for value in values:
            module.has_shape(value, shapes.CONFIG, schema.PATTERNS)

    assert abs(cmodule.blocks_kept(look)) < 100


# With a compiler's checks of every access.
CHECKED = """
import glob, importlib.util, json, random, sys
sys.path.insert(0, sys.argv[1])
from ocirt.config import schema, shapes
from tests.support.mutation import mutated
spec = importlib.util.spec_from_file_location("_ocirt", sys.argv[2])
module = importlib.util.module_from_spec(spec)
random = random.Random(3)
seeds = [json.load(open(name)) for name in sorted(glob.glob(sys.argv[1] + "/tests/configs/good/*.json"))]
values = [mutated(random.choice(seeds), random) for _ in range(3000)]
verdicts = [module.has_shape(value, shapes.CONFIG, schema.PATTERNS) for value in values]
print(verdicts == [not schema.faults(value) for value in values], 500 < sum(verdicts) < 2500)
"""


def test_no_access_is_out_of_bounds(tmp_path: Path) -> None:
    module = cmodule.compiled(tmp_path, "shape.c", "SHAPE", *cmodule.CHECKED)
    command = [sys.executable, "-c", CHECKED, str(ROOT), str(module)]
    ran = subprocess.run(
        command, env=cmodule.environment_of_checked(), check=False, capture_output=True, text=True, timeout=200
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "True True\n", "")
