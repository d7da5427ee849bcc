"""Every file of tests/configs: adding a case is adding a file.

A bad case has a .expect beside it: the code and the JSON pointer on the first line, a part of the
sentence on the second.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ocirt.config.bundle import read_config
from ocirt.errors import CODES, ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"
BAD = sorted((CONFIGS / "bad").glob("*.json"))
GOOD = sorted((CONFIGS / "good").glob("*.json"))


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.stem)
def test_bad_config_is_refused_with_code_pointer_and_sentence(case: Path) -> None:
    place, part = case.with_suffix(".expect").read_text().splitlines()
    code, _, pointer = place.partition(" ")
    with pytest.raises(ConfigError) as raised:
        read_config(case.read_bytes())
    error = raised.value
    assert (error.code, error.at.replace("\0", "\\u0000")) == (code, pointer)
    assert part in error.what
    assert case.name.startswith(f"{code}-")
    assert code in CODES


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.stem)
def test_good_config_is_accepted(case: Path) -> None:
    config = read_config(case.read_bytes())
    assert config.oci_version.startswith("1.")


def test_the_cases_are_there() -> None:
    assert len(BAD) >= 80
    assert len(GOOD) >= 20
    assert {case.with_suffix(".expect") for case in BAD} == set((CONFIGS / "bad").glob("*.expect"))
