from __future__ import annotations

from pathlib import Path

import pytest

from ocirt import users

TABLE = "root:x:0:0:root:/root:/bin/sh\n\n+::::::\nyou:x:1000:1000::/:\nme:x:1000:7:::\nten:x:10:0:::\nshort:x\n"


def test_names_of_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "PASSWD", str(tmp_path / "passwd"))
    assert users.names(0) == []
    (tmp_path / "passwd").write_text(TABLE)
    assert [users.names(uid) for uid in (0, 1000, 10, 1)] == [["root"], ["you", "me"], ["ten"], []]
    (tmp_path / "passwd").write_bytes(b"\xff:x:5:\n")
    assert users.names(5) == ["\ufffd"]
