"""update: options and files as writes, all or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocirt.commands import update
from ocirt.errors import OcirtError
from tests.support import records
from tests.support.cgroups import FakeContainer, fake

__all__ = ["fake"]


def run(fake: FakeContainer, *words: str) -> int:
    return records.run(update, fake.root, *words, fake.id)


def refusal(fake: FakeContainer, *words: str) -> tuple[str, str, str]:
    with pytest.raises(OcirtError) as caught:
        run(fake, *words)
    return caught.value.code, caught.value.what, caught.value.at


@pytest.mark.parametrize(
    ("option", "value", "file", "text"),
    [
        ("--memory", "1k", "memory.limit_in_bytes", "1024"),
        ("--memory", "-1", "memory.limit_in_bytes", "-1"),
        ("--memory-swap", "3k", "memory.memsw.limit_in_bytes", "3072"),
        ("--pids-limit", "0", "pids.max", "0"),
        ("--pids-limit", "-1", "pids.max", "max"),
        ("--cpu-quota", "-1", "cpu.cfs_quota_us", "-1"),
        ("--cpuset-cpus", "1", "cpuset.cpus", "1"),
        ("--blkio-weight", "10", "blkio.weight", "10"),
    ],
)
def test_option(fake: FakeContainer, option: str, value: str, file: str, text: str) -> None:
    (fake.cgroup / file).write_text("")  # the kernel replaces a value whole, an ordinary file keeps its end
    assert run(fake, option, value) == 0
    assert fake.read(file) == text


def test_nothing_asked_for_changes_nothing(fake: FakeContainer) -> None:
    before = {path.name: path.read_text() for path in fake.cgroup.iterdir()}
    assert run(fake) == 0
    assert {path.name: path.read_text() for path in fake.cgroup.iterdir()} == before


def test_a_file_overrules_the_options(fake: FakeContainer, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('{"pids": {"limit": 123}}')
    run(fake, "-r", str(tmp_path / "r.json"), "--memory", "1k")
    assert (fake.read("pids.max"), fake.read("memory.limit_in_bytes")) == ("123", "1000")


def test_all_or_none(fake: FakeContainer) -> None:
    """The period has no file here: what was written before it is taken back."""
    code, _, at = refusal(fake, "--memory", "2001", "--cpu-period", "5000")
    assert (code, at) == ("cgroup", "/cpu/period")
    assert fake.read("memory.limit_in_bytes") == "1000"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--memory", "x"], ("usage", "invalid size: 'x'", "")),
        (["--cpu-share", "1.5"], ("usage", 'invalid value for cpu-share: parsing "1.5": invalid syntax', "")),
        (["--cpu-share", "٣"], ("usage", 'invalid value for cpu-share: parsing "٣": invalid syntax', "")),
        (["--l3-cache-schema", "L3:0=f"], ("unsupported", "Intel RDT/CAT: l3 cache schema is not enabled", "")),
        (["--mem-bw-schema", "MB:0=20"], ("unsupported", "Intel RDT/MBA: memory bandwidth schema is not enabled", "")),
    ],
)
def test_what_cannot_be_understood(fake: FakeContainer, words: list[str], expected: tuple[str, str, str]) -> None:
    assert refusal(fake, *words) == expected


@pytest.mark.parametrize(
    ("words", "code", "at"),
    [
        (["--cpu-share", "-1"], "schema", "/cpu/shares"),
        (["--blkio-weight", "65536"], "schema", "/blockIO/weight"),
        (["--blkio-weight", "5"], "rule", "/blockIO/weight"),
        (["--memory", "2k", "--memory-swap", "1k"], "rule", "/memory/swap"),
    ],
)
def test_what_the_specification_forbids(fake: FakeContainer, words: list[str], code: str, at: str) -> None:
    found = refusal(fake, *words)
    assert (found[0], found[2]) == (code, at)


def test_stopped(fake: FakeContainer) -> None:
    fake.stop()
    assert refusal(fake, "--pids-limit", "5") == ("status", "container not running", "")


def test_kernel_memory_is_ignored(fake: FakeContainer, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(fake, "--kernel-memory", "4k") == 0
    assert "Kernel memory settings are ignored and will be removed" in capfd.readouterr().err
