"""The parts of a report: what is missing is said, what is long is cut."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ocirt.bugreport import archive, gather, redact
from ocirt.bugreport.gather import Missing, Report, Subject
from ocirt.errors import OcirtError
from ocirt.plan import Options


@pytest.fixture
def report() -> Report:
    return Report(redact.Redactor())


def test_what_cannot_be_read_is_said(report: Report) -> None:
    report.text("a", lambda: "text")
    report.text("b", lambda: gather.end_of("/nowhere"))
    report.json("c", lambda: 1 // 0 if report.parts == {} else {"token": "x"})

    def fails() -> str:
        raise OcirtError("json", "it is damaged")

    def missing() -> str:
        raise Missing("it is stopped")

    report.text("d", fails)
    report.text("e", missing)
    assert report.parts == {"a": "text", "c": '{\n  "token": "[redacted]"\n}\n'}
    assert report.problems == {"b": "No such file or directory", "d": "it is damaged", "e": "it is stopped"}
    text = archive.readme("about web1", report, ("PATH",), 8)
    assert text.startswith("about web1\n==========\n")
    assert "\na  4 characters\n" in text
    assert "\nb  not here: No such file or directory\n" in text
    assert "Hidden, in 1 places: the values of environment variables (but PATH)" in text


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("", ""),
        ("one\ntwo\n", "one\ntwo\n"),
        ("one\ntwo\nthree\n", "[...]\nthree\n"),
        ("x" * 100, "[...]\n"),
        (b"\xff", "\ufffd"),
    ],
)
def test_the_end_of_a_file(tmp_path: Path, content: str | bytes, found: str) -> None:
    path = tmp_path / "log"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert gather.end_of(str(path), 10) == found


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert gather.end_of(str(tmp_path / "fifo")) == ""


def test_a_device_without_end_is_not_read_to_it() -> None:
    assert gather.end_of("/dev/zero", 10) == "\n[...]\n"


def test_of_what_has_no_size_it_is_the_beginning() -> None:
    """As files of procfs, which are regular ones all the same."""
    lines = Path("/proc/self/status").read_text().splitlines(keepends=True)
    assert gather.end_of("/proc/self/status", len(lines[0]) + 3) == f"{lines[0]}[...]\n"
    assert gather.end_of("/proc/self/status").splitlines()[0] + "\n" == lines[0]


def test_no_more_than_the_end_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "log").open("wb") as file:
        file.truncate(1 << 40)  # sparse
        file.seek(1 << 40)
        file.write(b"x\nlast\n")
    sizes: list[int] = []
    read = os.read

    def counted(fd: int, size: int) -> bytes:
        sizes.append(size)
        return read(fd, size)

    monkeypatch.setattr(gather.os, "read", counted)
    assert gather.end_of(str(tmp_path / "log"), 100_000) == "[...]\nlast\n"
    assert sizes == [65536, 100_000 - 65536]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "b").mkdir()
    return tmp_path / "b"


def gathered(report: Report, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr(gather, "findings", lambda root: [])
    monkeypatch.setattr(gather, "probe", dict)
    gather.gather(report, Subject("/nowhere", "web1", str(bundle)), Options("web1", str(bundle)), "/nowhere", [])
    return report.parts


def test_a_secret_is_hidden_before_the_place_that_tells(
    report: Report, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {
        "annotations": {"a": "it is abcdefgh", "abcdefgh": "b"},
        "process": {"args": ["sh", "-c", "echo abcdefgh; echo from-the-log"], "env": ["X=abcdefgh"]},
    }
    (bundle / "config.json").write_text(json.dumps(config))
    (bundle / "log.json").write_text('{"token":"from-the-log"}\n')
    found = gathered(report, bundle, monkeypatch)
    assert json.loads(found["config.json"]) == {
        "annotations": {"a": "it is [redacted]", "[redacted]": "b"},
        "process": {"args": ["sh", "-c", "echo [redacted]; echo [redacted]"], "env": ["X=[redacted]"]},
    }
    assert found["container/log.json"] == '{"token":"[redacted]"}\n'
    assert [name for name, text in found.items() if "abcdefgh" in text or "from-the-log" in text] == []
    assert report.redactor.count == "".join(found.values()).count("[redacted]")


def test_why_a_part_is_missing_tells_no_secret(report: Report) -> None:
    def fails() -> str:
        raise OcirtError("json", "correct horse is no number")

    report.text("a", fails)
    report.json("b", lambda: {"env": ["S=correct horse"]})
    report.hide_again()
    assert report.problems == {"a": "[redacted] is no number"}


def test_whatever_is_wrong_with_a_part_there_are_the_others(report: Report) -> None:
    report.json("a", lambda: 1 // 0)
    report.json("b", lambda: float("nan"))
    report.text("c", lambda: "text")
    assert report.parts == {"c": "text"}
    assert report.problems == {
        "a": "ZeroDivisionError: integer division or modulo by zero",
        "b": "TypeError: float has no form in JSON",
    }


def test_a_fifo_for_a_configuration_is_not_waited_for(
    report: Report, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(bundle / "config.json")
    gathered(report, bundle, monkeypatch)
    assert report.problems["config.json"] == "not a regular file"
    assert report.problems["plan.txt"] == "not a regular file"


def test_a_configuration_without_end_is_not_read(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bundle / "config.json").write_text("x" * 101)
    monkeypatch.setattr(gather, "MAX_SIZE", 100)
    with pytest.raises(OSError, match="File too large"):
        gather.whole(str(bundle / "config.json"))
    monkeypatch.setattr(gather, "MAX_SIZE", 101)
    assert gather.whole(str(bundle / "config.json")) == b"x" * 101


def test_a_log_that_is_a_link_is_not_followed(report: Report, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bundle / "config.json").write_text("{}")
    (bundle / "log.json").symlink_to("/etc/passwd")
    os.mkfifo(bundle / "oci-log")
    found = gathered(report, bundle, monkeypatch)
    assert [name for name in found if name.startswith("container/")] == []
    assert report.problems["container/log.json"] == "Too many levels of symbolic links"
    assert report.problems["container/oci-log"] == "not a regular file"


@pytest.mark.parametrize(
    ("source", "looked_at"),
    [
        ("/run/containers/storage/overlay-containers/web1/userdata/hostname", True),
        ("/run/user/1000/containers/vfs-containers/web1/userdata/.containerenv", True),
        ("/run/containers/storage/overlay-containers/web1/userdata/data", False),
        ("/run/containers/storage/overlay-containers/web1/userdata/run/hosts", False),
        ("/run/containers/storage/overlay-containers/web2/userdata/hostname", False),
        ("/srv/volumes/web1/hostname", False),
        ("/srv/web1/userdata/hostname", False),
        ("/srv/volumes/web1/data", False),
    ],
)
def test_where_logs_are_looked_for(bundle: Path, source: str, looked_at: bool) -> None:
    (bundle / "config.json").write_text(json.dumps({"mounts": [{"destination": "/x", "source": source}]}))
    found = gather.log_directories(Subject("/nowhere", "web1", str(bundle)))
    assert found == [str(bundle), *([os.path.dirname(source)] if looked_at else [])]


def test_the_kernels_lines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = [b"6,1,1,-;eth0 is up\n", b"3,2,2,-;Memory cgroup out of memory: Killed process 42\n SUBSYSTEM=x\n"]
    lines += [b"6,%d,3,-;audit: %d\n" % (number, number) for number in range(300)]
    monkeypatch.setattr(gather, "_records", lambda fd: iter(lines))
    if not os.access("/dev/kmsg", os.R_OK):
        pytest.skip("no right to read /dev/kmsg")
    found = gather.kernel_log(("out of memory", "audit"), ()).splitlines()
    assert len(found) == gather.KERNEL_LINES
    assert found[-1] == "6,299,3,-;audit: 299"
    monkeypatch.setattr(gather, "_records", lambda fd: iter(lines[:2]))
    assert gather.kernel_log(("out of memory",), ()) == "3,2,2,-;Memory cgroup out of memory: Killed process 42\n"
    # Names are whole words of the message: no pid is found in a time or in another pid.
    for names, shown in ((("42",), [1]), (("4",), []), (("2",), []), (("KILLED", "eth0"), [0, 1]), (("eth",), [])):
        assert gather.kernel_log(("nothing",), names) == "".join(
            lines[one].decode().partition("\n")[0] + "\n" for one in shown
        )


def test_pid_0_is_nobodys(report: Report, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Creating:
        pid = 0

    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(gather, "kernel_log", lambda words, names: asked.append(names) or "")
    monkeypatch.setattr(gather, "_container", lambda report, container: None)
    for pid in (0, 42):
        Creating.pid = pid
        subject = Subject("/nowhere", "web1", str(bundle))
        subject.container = Creating()  # type: ignore[assignment]
        monkeypatch.setattr(gather, "findings", lambda root: [])
        monkeypatch.setattr(gather, "probe", dict)
        gather.gather(report, subject, Options("web1", str(bundle)), "/nowhere", [])
    assert asked == [("web1",), ("web1", "42")]


def test_an_archive_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "report.tar.gz"
    archive.write(str(path), b"data")
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        archive.write(str(path), b"other")
    assert path.read_bytes() == b"data"
    with pytest.raises(TypeError):
        archive.write(str(tmp_path / "broken"), "text")  # type: ignore[arg-type]
    assert not (tmp_path / "broken").exists()
