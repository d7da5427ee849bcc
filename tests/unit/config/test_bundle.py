from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ocirt.config import bundle
from ocirt.errors import ConfigError, OcirtError


def test_open_bundle_follows_symlinks_to_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "config.json").write_bytes(b"{}")
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    opened = bundle.open_bundle("link")
    assert opened.path == str((tmp_path / "real").resolve())
    assert not os.get_inheritable(opened.fd)
    assert opened.config_text() == b"{}"
    os.close(opened.fd)


def test_open_bundle_of_nothing_is_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    opened = bundle.open_bundle("")
    assert opened.path == str(tmp_path.resolve())
    os.close(opened.fd)


@pytest.mark.parametrize(("name", "number"), [("absent", errno.ENOENT), ("file", errno.ENOTDIR)])
def test_a_bundle_that_is_no_directory(tmp_path: Path, name: str, number: int) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OcirtError) as raised:
        bundle.open_bundle(str(tmp_path / name))
    error = raised.value
    assert (error.code, error.call, error.errno) == ("bundle", "open", number)
    assert name in error.what


def test_missing_config_has_the_words_that_engines_know(tmp_path: Path) -> None:
    opened = bundle.open_bundle(str(tmp_path))
    with pytest.raises(OcirtError) as raised:
        opened.config_text()
    os.close(opened.fd)
    assert raised.value.code == "bundle"
    assert raised.value.what == "JSON specification file config.json not found"


def test_a_config_that_is_a_directory(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    opened = bundle.open_bundle(str(tmp_path))
    with pytest.raises(OcirtError) as raised:
        opened.config_text()
    os.close(opened.fd)
    assert (raised.value.code, raised.value.errno) == ("bundle", errno.EINVAL)


def test_a_file_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MAX_SIZE", 1 << 20)
    with pytest.raises(OcirtError) as raised:
        bundle.read_file("/dev/zero", "process.json")
    assert (raised.value.code, raised.value.errno) == ("bundle", errno.EFBIG)


def test_read_file_reads_standard_input_and_leaves_it_open() -> None:
    ours, theirs = os.pipe()
    os.write(theirs, b"x" * 1000)
    os.close(theirs)
    saved = os.dup(0)
    os.dup2(ours, 0)
    try:
        assert bundle.read_file("-", "resources.json") == b"x" * 1000
        os.fstat(0)
    finally:
        os.dup2(saved, 0)
        os.close(saved)
        os.close(ours)


def test_read_process_has_the_rules_and_pointers_of_the_file() -> None:
    process = bundle.read_process(b'{"cwd": "/", "args": ["sh"], "env": ["A=b"]}')
    assert (process.cwd, process.args, process.user.uid) == ("/", ("sh",), 0)
    for data, code, at in (
        (b'{"args": ["sh"]}', "schema", ""),
        (b'{"cwd": "/", "args": [1]}', "schema", "/args/0"),
        (b'{"cwd": "/", "args": ["a\\u0000b"]}', "rule", "/args/0"),
        (b'{"cwd": "x", "args": ["a"]}', "rule", "/cwd"),
        (b'{"cwd": "/", "args": ["a"], "args": []}', "json", "/args"),
    ):
        with pytest.raises(ConfigError) as raised:
            bundle.read_process(data)
        assert (raised.value.code, raised.value.at) == (code, at)


def test_read_resources_has_the_rules_and_pointers_of_the_file() -> None:
    assert bundle.read_resources(b'{"pids": {"limit": 5}}').pids is not None
    with pytest.raises(ConfigError) as raised:
        bundle.read_resources(b'{"memory": {"limit": 10, "swap": 5}}')
    assert (raised.value.code, raised.value.at) == ("rule", "/memory/swap")


def test_an_update_may_rely_on_a_limit_given_earlier() -> None:
    memory = bundle.read_resources(b'{"memory": {"swap": 5}}').memory
    assert memory is not None
    assert memory.swap == 5
