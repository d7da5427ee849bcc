"""The error record: its fields, and the way through the channel and back."""

from __future__ import annotations

import pytest

from ocirt.errors import CODES, RECORD_FIELDS, ConfigError, KernelError, OcirtError, StateError, UsageError


def test_record_round_trip() -> None:
    error = OcirtError(
        "step-failed",
        "mount proc",
        stage="mounts",
        step="mount proc on /proc",
        at="/mounts/0",
        call="mount",
        errno=1,
        detail="a\nb",
        remedy="do this",
    )
    record = error.to_record()
    assert record == [
        "step-failed",
        "mount proc",
        "mounts",
        "mount proc on /proc",
        "/mounts/0",
        "mount",
        "1",
        "a\nb",
        "do this",
    ]
    back = OcirtError.from_record(record)
    assert [getattr(back, name) for name in RECORD_FIELDS] == [getattr(error, name) for name in RECORD_FIELDS]
    assert back.errno == 1


def test_a_record_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="unpack"):
        OcirtError.from_record(["code", "what"])


def test_children() -> None:
    assert UsageError("x", remedy="y").to_record() == ["usage", "x", "", "", "", "", "0", "", "y"]
    config = ConfigError("rule", "cwd is relative", "/process/cwd")
    assert (config.code, config.what, config.at) == ("rule", "cwd is relative", "/process/cwd")
    assert isinstance(StateError("status", "not running"), OcirtError)


def test_kernel_error_is_an_os_error() -> None:
    error = KernelError(2, "No such file or directory", "openat2", "/a")
    assert (error.errno, error.call, error.detail, str(error)) == (
        2,
        "openat2",
        "/a",
        "[Errno 2] No such file or directory",
    )
    assert isinstance(error, OSError)


def test_the_detail_of_a_kernel_error_is_put_into_words_when_it_is_asked_for() -> None:
    asked: list[str] = []
    error = KernelError(2, "", "mount", lambda: asked.append("") or "MS_PRIVATE")  # type: ignore[func-returns-value]
    assert asked == []
    assert error.detail == "MS_PRIVATE"
    error.detail = "/proc/sys/x"
    assert (error.detail, asked) == ("/proc/sys/x", [""])


def test_codes_are_words_with_a_meaning() -> None:
    for code, meaning in CODES.items():
        assert code == code.lower()
        assert " " not in code
        assert meaning
        assert not meaning.endswith(".")
