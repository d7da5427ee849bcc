"""The command line from outside: the exact texts, the exit codes, the records engines parse.  Needs no root."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from ocirt import OCI_VERSION, __version__, cli, log, system
from ocirt.errors import ConfigError, KernelError, OcirtError, StateError
from ocirt.options import VALUE, Globals, Option, Parsed
from tests.support.launcher import LAUNCHER

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


class Result:
    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr


def ocirt(*words: str, env: dict[str, str] | None = None) -> Result:
    command = [sys.executable, "-IS", "-c", LAUNCHER, *words]
    return Result(subprocess.run(command, check=False, capture_output=True, text=True, env=env, timeout=30))


# -- help and version ----------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--version"], ["-v"], ["--debug", "-version", "state"]])
def test_version(words: list[str]) -> None:
    result = ocirt(*words)
    python = "{}.{}.{}".format(*sys.version_info[:3])
    assert (result.status, result.err) == (0, "")
    assert result.out == f"ocirt version {__version__}\ncommit: v{__version__}\nspec: {OCI_VERSION}\npython: {python}\n"


@pytest.mark.parametrize("words", [[], ["--help"], ["-h", "nonsense"]])
def test_help(words: list[str]) -> None:
    result = ocirt(*words)
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith("ocirt - ")
    assert "\nglobal options:\n      --debug " in result.out


@pytest.mark.parametrize("words", [["help"], ["h"]])
def test_help_of_all_commands(words: list[str]) -> None:
    result = ocirt(*words)
    assert (result.status, result.err) == (0, "")
    lines = result.out.splitlines()
    assert [line for line in lines if line.startswith("  delete ")] == [f"  delete      {cli.COMMANDS['delete']}"]


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_of_each_command(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(f"ocirt.commands.{name}")
    assert cli.COMMANDS[name] == module.SUMMARY
    for words in ([name, "--help"], [name, "-h", "--bad"], ["help", name]):
        assert cli.run(words) == 0
        out, err = capfd.readouterr()
        assert out.startswith(f"ocirt {name} - ")
        assert f"\n\nusage: ocirt {name} [options]" in out
        assert err == ""


# -- usage errors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "heading", "what"),
    [
        (["state"], "Incorrect Usage.\n\nocirt state - ", 'ocirt: "state" requires exactly 1 argument(s)'),
        (["state", "a", "b"], "Incorrect Usage.\n\nocirt ", 'ocirt: "state" requires exactly 1 argument(s)'),
        (["kill"], "Incorrect Usage.\n\nocirt ", 'ocirt: "kill" requires a minimum of 1 argument(s)'),
        (["kill", "a", "9", "x"], "Incorrect Usage.\n\nocirt ", 'ocirt: "kill" requires a maximum of 2 argument(s)'),
        (["list", "a"], "Incorrect Usage.\n\nocirt ", 'ocirt: "list" requires exactly 0 argument(s)'),
        (
            ["state", "--bad", "a"],
            "Incorrect Usage: flag provided but not defined: -bad\n\nocirt state - ",
            "flag provided but not defined: -bad",
        ),
        (["--bad"], "Incorrect Usage: flag provided but not defined: -bad\n\nocirt - ", None),
        (["--root"], "Incorrect Usage: flag needs an argument: --root\n\nocirt - ", None),
        (["list", "--format"], "Incorrect Usage: flag needs an argument: --format\n\nocirt ", None),
        (["foo", "-h"], "", "No help topic for 'foo'"),
        (["help", "foo"], "", "No help topic for 'foo'"),
        (["../cli", "x"], "", "No help topic for '../cli'"),
    ],
)
def test_misuse(words: list[str], heading: str, what: str | None) -> None:
    result = ocirt(*words)
    assert result.status == 1
    assert result.out.startswith(heading)
    if not heading:
        assert result.out == ""
    assert result.err == (what or heading.splitlines()[0].removeprefix("Incorrect Usage: ")) + "\n"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--log-format", "xml", "list"], "ocirt list: invalid log-format: xml"),
        (["--root", "/", "list"], "ocirt list: Option --root argument should not be set to /"),
        (["--root", "/.././/", "state", "a"], "ocirt state a: Option --root argument should not be set to /"),
        (["--rootless", "maybe", "list"], 'ocirt list: --rootless: parsing "maybe": invalid syntax'),
        (["--cgroup-manager", "x", "list"], 'ocirt list: unknown cgroup manager "x"'),
        (["list", "--format", "yaml"], "ocirt list: invalid format option"),
    ],
)
def test_wrong_values(words: list[str], line: str) -> None:
    result = ocirt(*words)
    assert (result.status, result.out, result.err) == (1, "", line + "\n")


# -- global options ------------------------------------------------------------------------------


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Globals]:
    """A command `state` that only remembers the global options."""
    calls: list[Globals] = []

    def main(g: Globals, options: Parsed) -> int:
        calls.append(g)
        return 7

    stand_in(monkeypatch, main)
    return calls


def stand_in(monkeypatch: pytest.MonkeyPatch, main: object, **more: object) -> None:
    module = ModuleType("ocirt.commands.state")
    settings = {"SUMMARY": "s", "ARGUMENTS": "<container-id>", "OPTIONS": (Option("name", kind=VALUE),), "main": main}
    for name, value in (settings | more).items():
        setattr(module, name, value)
    monkeypatch.setattr(cli, "_load", lambda name: module)
    for name, value in {"_fd": log.STDERR, "_json": False, "debugging": False, "_held": []}.items():
        monkeypatch.setattr(log, name, value)


def test_status_is_the_commands(seen: list[Globals]) -> None:
    assert cli.run(["state", "a"]) == 7


def test_defaults(seen: list[Globals], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    cli.run(["state"])
    (g,) = seen
    assert (g.app, g.root, g.root_given, g.debug, g.log, g.log_format) == (
        "ocirt",
        "/run/ocirt",
        False,
        False,
        "",
        "text",
    )
    assert (g.systemd_cgroup, g.rootless, g.cgroup_manager) == (False, "auto", "cgroupfs")


@pytest.mark.parametrize(
    ("words", "attribute", "value"),
    [
        (["--root", "/a/../b/"], "root", "/b"),
        (["--root=/b"], "root_given", True),
        (["--systemd-cgroup"], "systemd_cgroup", True),
        (["--systemd-cgroup"], "cgroup_manager", "systemd"),
        (["--cgroup-manager", "systemd"], "systemd_cgroup", True),
        (["--cgroup-manager=disabled"], "cgroup_manager", "disabled"),
        (["--rootless=1"], "rootless", "true"),
        (["--rootless", "F"], "rootless", "false"),
        (["--rootless", "auto"], "rootless", "auto"),
        (["--debug"], "debug", True),
    ],
)
def test_global_options(seen: list[Globals], words: list[str], attribute: str, value: object) -> None:
    cli.run([*words, "state"])
    assert getattr(seen[0], attribute) == value


def test_root_is_made_absolute(seen: list[Globals], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cli.run(["--root", "x", "state"])
    assert seen[0].root == f"{tmp_path}/x"


@pytest.mark.parametrize(
    ("euid", "user", "uid_map", "private"),
    [
        (1000, "root", "", True),
        (0, "root", "0 1000 1", False),
        (0, "me", "0 1000 1", True),
        (0, None, "0 1000 1", True),
        (0, "me", "0 0 4294967295", False),
    ],
)
def test_runtime_directory_of_a_user(
    seen: list[Globals],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    euid: int,
    user: str | None,
    uid_map: str,
    private: bool,
) -> None:
    (tmp_path / "uid_map").write_text(f"         {uid_map}\n")
    monkeypatch.setattr(cli.os, "read_whole", lambda path: (tmp_path / "uid_map").read_bytes())
    monkeypatch.setattr(system, "geteuid", lambda: euid)
    variables = {"XDG_RUNTIME_DIR": str(tmp_path), "USER": user or ""}
    monkeypatch.setattr(system, "getenv", variables.get)
    cli.run(["state"])
    assert seen[0].root == (f"{tmp_path}/ocirt" if private else "/run/ocirt")
    assert (tmp_path / "ocirt").exists() == private
    if private:
        assert oct((tmp_path / "ocirt").stat().st_mode) == "0o41700"


# -- failures ------------------------------------------------------------------------------------

MOUNT_FAILURE = OcirtError(
    "step-failed",
    "mount proc on /proc (nosuid)",
    stage="mounts",
    step="mount proc on /proc (nosuid)",
    at="/mounts/0",
    call="mount",
    errno=1,
    detail="proc, /proc, proc, MS_NOSUID",
)


def failing(error: BaseException) -> object:
    def main(g: Globals, options: Parsed) -> int:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (StateError("not-found", "container does not exist"), "ocirt state web1: container does not exist"),
        (
            ConfigError("rule", "Cwd must be an absolute path", "/process/cwd", "begin it with /"),
            "ocirt state web1: Cwd must be an absolute path [/process/cwd] - begin it with /",
        ),
        (
            OcirtError("bundle", "open config.json", errno=2, detail="/b/config.json"),
            "ocirt state web1: open config.json (/b/config.json): no such file or directory",
        ),
        (
            OcirtError("executable", 'exec: "/x": stat /x: no such file or directory', errno=2),
            'ocirt state web1: exec: "/x": stat /x: no such file or directory',
        ),
        (FileNotFoundError(2, "gone", "/x"), "ocirt state web1: /x: no such file or directory"),
        (KernelError(5, "Input/output error", "openat2", "/x"), "ocirt state web1: openat2 (/x): input/output error"),
        (OSError("no number"), "ocirt state web1: OSError: no number - a fault in ocirt: --debug shows where"),
        (
            ZeroDivisionError("by 0"),
            "ocirt state web1: ZeroDivisionError: by 0 - a fault in ocirt: --debug shows where",
        ),
        (RecursionError("deep"), "ocirt state web1: RecursionError: deep - a fault in ocirt: --debug shows where"),
        (
            ModuleNotFoundError("No module named 'termios'", name="termios"),
            "ocirt state web1: this Python lacks the module termios of its standard library"
            " - install all of Python (Debian: the package python3, for python3-minimal is a part of it)",
        ),
        (
            ImportError("cannot open shared object file", name="_json", path="/no/such/_json.so"),
            "ocirt state web1: this Python lacks the module _json of its standard library"
            " - install all of Python (Debian: the package python3, for python3-minimal is a part of it)",
        ),
        (
            ImportError("cannot import name 'x'", name="json", path="/"),
            "ocirt state web1: ImportError: cannot import name 'x' - a fault in ocirt: --debug shows where",
        ),
        (
            ModuleNotFoundError("No module named 'ocirt.x'", name="ocirt.x"),
            "ocirt state web1: ModuleNotFoundError: No module named 'ocirt.x' - a fault in ocirt: --debug shows where",
        ),
        (MemoryError(), "ocirt state web1: out of memory"),
        (SystemError("error return without exception set"), "ocirt state web1: out of memory"),
        (StateError("status", "bad \x1b[2J\nname"), "ocirt state web1: bad \\x1b[2J\\nname"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_last_line(
    error: Exception, line: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, failing(error))
    assert cli.run(["state", "web1"]) == 1
    assert capfd.readouterr() == ("", line + "\n")


def test_whole_line_with_remedy(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    stand_in(monkeypatch, failing(MOUNT_FAILURE))
    assert cli.run(["state", "web1"]) == 1
    assert capfd.readouterr().err == (
        "ocirt state web1: mounts: mount proc on /proc (nosuid): operation not permitted [/mounts/0]"
        ' - a new proc needs a pid namespace of the same user namespace: add {"type": "pid"} to linux.namespaces'
        " and see that the host's /proc has nothing mounted over parts of it\n"
    )


def test_json_log_and_stderr(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, failing(MOUNT_FAILURE))
    path = tmp_path / "log.json"
    assert cli.run(["--log", str(path), "--log-format=json", "state", "web1"]) == 1
    record = json.loads(path.read_text())  # one object, as podman reads it
    assert capfd.readouterr().err == record["msg"] + "\n"
    assert re.fullmatch(TIME, record["time"])
    assert {name: value for name, value in record.items() if name not in ("msg", "time")} == {
        "level": "error",
        "code": "step-failed",
        "stage": "mounts",
        "step": "mount proc on /proc (nosuid)",
        "pointer": "/mounts/0",
        "call": "mount",
        "errno": 1,
        "detail": "proc, /proc, proc, MS_NOSUID",
        "remedy": record["msg"].split(" - ", 1)[1],
    }


def test_json_without_log_file_goes_to_stderr() -> None:
    result = ocirt("--log-format", "json", "--root", "/nonexistent", "state", "a")
    record = json.loads(result.err)
    assert (result.status, record["level"], record["code"]) == (1, "error", "not-found")
    assert record["msg"].startswith("ocirt state a: container does not exist")


def test_text_log_and_plain_stderr(tmp_path: Path) -> None:
    path = tmp_path / "log"
    result = ocirt("--log", str(path), "--root", "/", "list")
    message = "ocirt list: Option --root argument should not be set to /"
    assert result.err == message + "\n"
    assert re.fullmatch(rf'time="{TIME}" level=error msg="{re.escape(message)}"\n', path.read_text())


def test_log_that_cannot_be_opened() -> None:
    result = ocirt("--log", "/nonexistent/log", "list")
    assert (result.status, result.err) == (1, "ocirt: /nonexistent/log: no such file or directory\n")


def test_traceback_only_in_the_debug_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "log"
    stand_in(monkeypatch, failing(ZeroDivisionError("by 0")))
    cli.run(["--log", str(path), "state"])
    assert "Traceback" not in path.read_text()
    cli.run(["--log", str(path), "--debug", "state"])
    assert 'level=debug msg="Traceback (most recent call last):\\n' in path.read_text()


def test_failure_status_of_a_command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    stand_in(monkeypatch, failing(StateError("status", "x")), FAILURE=255)
    assert cli.run(["state", "web1"]) == 255
    assert cli.run(["state", "--bad"]) == 1


def test_interrupt(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    stand_in(monkeypatch, failing(KeyboardInterrupt()))
    assert cli.run(["state", "web1"]) == 130
    assert capfd.readouterr() == ("", "")


# -- standard descriptors ------------------------------------------------------------------------


def test_reader_that_left_is_no_failure() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-IS", "-c", LAUNCHER, "--help"], check=False, stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_full_standard_output_is_a_failure() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-IS", "-c", LAUNCHER, "--help"], check=False, stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 1
    assert b"no space left on device" in done.stderr


def test_closed_descriptors_do_not_get_other_files(tmp_path: Path) -> None:
    """With 2 closed the log would be opened as 2, and the plain line would follow the record into it."""
    path = tmp_path / "log"
    shell = f'exec {sys.executable} -IS -c "$0" --log {path} --root / list <&- >&- 2>&-'
    assert subprocess.run(["/bin/sh", "-c", shell, LAUNCHER], check=False).returncode == 1
    assert len(path.read_text().splitlines()) == 1
