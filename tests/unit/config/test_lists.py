from __future__ import annotations

import pytest

from ocirt.config.lists import is_list


@pytest.mark.parametrize("text", ["", "0", "0-3", "0-3,7", "0, 2 ,4-4", "1,", ",1", " 5 ", "99999"])
def test_lists(text: str) -> None:
    assert is_list(text)


@pytest.mark.parametrize("text", ["a", "-", "1-", "-1", "3-1", "1--2", "0-3-5", "1 2", "0x1", "\u0661", "1;2", "9" * 6])
def test_no_lists(text: str) -> None:
    assert not is_list(text)
