"""Completion in the shells themselves: what each offers at the end of a line."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ocirt import cli
from ocirt.launcher.share import tables
from tests.support.launcher import LAUNCHER, TREE

BASH = """
source "$1"
COMP_WORDS=("${@:3}") COMP_CWORD=$2 COMPREPLY=()
_ocirt
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What install.py writes."""
    directory = tmp_path_factory.mktemp("share")
    subprocess.run([sys.executable, "-IB", str(TREE / "ocirt/launcher/share/install.py"), str(directory)], check=True)
    return directory


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `ocirt`, a bundle, a file, and a root directory with two containers that only look like some."""
    directory = tmp_path_factory.mktemp("place")
    (directory / "bundle").mkdir()
    (directory / "a file").touch()
    ocirt = directory / "bin/ocirt"
    ocirt.parent.mkdir()
    quoted = LAUNCHER.replace("'", "'\\''")
    # in place of `list --quiet`, which wants real records: what it would print for --root DIR
    ocirt.write_text(
        "#!/bin/sh\n"
        'if [ "$*" = "list --quiet" ]; then echo web1; echo web2; exit; fi\n'
        f'if [ "$*" = "--root {directory}/other list --quiet" ]; then echo db1; exit; fi\n'
        f"exec {sys.executable} -IS -c '{quoted}' \"$@\"\n"
    )
    ocirt.chmod(0o755)
    return directory


CASES = [
    ("cr", ["create"]),
    ("--log-f", ["--log-format"]),
    ("--log-format ", ["text", "json"]),
    ("--log-format j", ["json"]),
    ("--cgroup-manager ", ["cgroupfs", "systemd", "disabled"]),
    ("--rootless a", ["auto"]),
    ("--log a", ["a file"]),
    ("--root /nowhere star", ["start"]),
    ("--debug paus", ["pause"]),
    ("create --bu", ["--bundle"]),
    ("create --bundle b", ["bin", "bundle"]),
    ("create -b bu", ["bundle"]),
    ("create w", []),
    ("start ", ["web1", "web2"]),
    ("delete --force w", ["web1", "web2"]),
    ("state web1 ", []),
    ("--root {place}/other exec --env A=b d", ["db1"]),
    ("kill web1 K", ["KILL"]),
    ("list --format ", ["table", "json"]),
    ("trace v", ["view"]),
    ("trace view a", ["a file"]),
    ("list -f j", ["json"]),
    ("check --format s", ["sarif"]),
    ("check b", ["bin", "bundle"]),
    ("exec --process a", ["a file"]),
    ("doctor web2 ", []),
]


def splitted(line: str, place: Path) -> list[str]:
    return f"ocirt {line}".replace("{place}", str(place)).split(" ")


@pytest.mark.parametrize(("line", "offered"), CASES)
def test_bash(share: Path, place: Path, line: str, offered: list[str]) -> None:
    words = splitted(line, place)
    script = str(share / "bash-completion/completions/ocirt")
    command = ["bash", "-uec", BASH, "bash", script, str(len(words) - 1), *words]
    environment = {"PATH": f"{place}/bin:/usr/bin:/bin", "HOME": str(place)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=place, env=environment, timeout=30)
    assert sorted(filter(None, done.stdout.split("\n"))) == sorted(offered)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["--log-format", "="], ["text", "json"]),
        (["--log-format", "=", "t"], ["text"]),
        (["--log-format", "=", "json", "list", "--format", "=", "t"], ["table"]),
        (["--systemd-cgroup", "=", "f"], ["false"]),
        (["--systemd-cgroup", "=", "false", "paus"], ["pause"]),
        (["-log-format", "t"], ["text"]),
        (["create", "--no-pivot", "=", ""], ["true", "false"]),
    ],
)
def test_bash_with_equals_signs(share: Path, place: Path, words: list[str], offered: list[str]) -> None:
    """COMP_WORDBREAKS makes them words of their own."""
    script = str(share / "bash-completion/completions/ocirt")
    command = ["bash", "-uec", BASH, "bash", script, str(len(words)), "ocirt", *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=place, timeout=30)
    assert sorted(filter(None, done.stdout.split("\n"))) == sorted(offered)


def test_bash_offers_every_option_of_every_command(share: Path, place: Path) -> None:
    import importlib

    script = str(share / "bash-completion/completions/ocirt")
    for name in cli.COMMANDS:
        command = ["bash", "-uec", BASH, "bash", script, "2", "ocirt", name, "--"]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
        table = importlib.import_module(f"ocirt.commands.{name}").OPTIONS
        wanted = {"--help", *(f"--{option.name}" for option in table if not option.hidden)}
        assert set(done.stdout.split()) == wanted


# typed, with a tabulator at its end, and what the line is then
TYPED = [
    (b"ocirt feat\t", "ocirt features "),
    (b"ocirt check bun\t", "ocirt check bundle/"),
    (b"ocirt list --format=j\t", "ocirt list --format=json "),
    (b"ocirt exec web2\t", "ocirt exec web2 "),
]


def type_at(shell: list[str], place: Path, environment: dict[str, str], prompt: str) -> None:
    """An interactive shell completes what is typed when the tabulator is pressed."""
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(place)
        os.execve(shell[0], shell, {"PATH": f"{place}/bin:/usr/bin:/bin", "TERM": "dumb", **environment})
    try:
        read_until(master, prompt)
        for keys, line in TYPED:
            os.write(master, keys)
            read_until(master, line)
            os.write(master, b"\x15")  # Control-U: the line is empty again
    finally:
        os.close(master)
        os.waitpid(pid, 0)


def test_bash_at_a_terminal(share: Path, place: Path) -> None:
    script = share / "bash-completion/completions/ocirt"
    (share / "bashrc").write_text(f"PS1='> '\nbind 'set enable-bracketed-paste off'\nsource {script}\n")
    shell = ["/bin/bash", "--noprofile", "--rcfile", str(share / "bashrc"), "-i"]
    type_at(shell, place, {"HOME": str(place)}, "> ")


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_at_a_terminal(share: Path, place: Path, tmp_path: Path) -> None:
    functions = share / "zsh/site-functions"
    (tmp_path / ".zshrc").write_text(
        f"PS1='> '\nunsetopt zle_bracketed_paste\nbindkey -e\nfpath=({functions} $fpath)\n"
        "autoload -Uz compinit; compinit -u; bindkey '^U' kill-whole-line\n"
    )
    type_at([str(shutil.which("zsh")), "-d", "-i"], place, {"ZDOTDIR": str(tmp_path), "HOME": str(place)}, "> ")


def read_until(fd: int, wanted: str, seconds: float = 30.0) -> str:
    text, deadline = "", time.monotonic() + seconds
    while wanted not in text:
        left = deadline - time.monotonic()
        assert left > 0, text
        assert select.select([fd], [], [], left)[0], text
        text += os.read(fd, 4096).decode()
    return text


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
@pytest.mark.parametrize(("line", "offered"), [case for case in CASES if "a file" not in case[1]])
def test_fish(share: Path, place: Path, line: str, offered: list[str]) -> None:
    text = f"ocirt {line}".replace("{place}", str(place))
    script = f"source {share}/fish/vendor_completions.d/ocirt.fish; complete -C {text!r}"
    environment = {"PATH": f"{place}/bin:/usr/bin:/bin", "HOME": str(place), "LANG": "C.UTF-8"}
    done = subprocess.run(
        ["fish", "--no-config", "-c", script], check=True, capture_output=True, text=True, cwd=place, env=environment
    )
    found = [one.split("\t")[0].rstrip("/") for one in done.stdout.splitlines()]
    assert sorted(found) == sorted(offered)


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh(share: Path, tmp_path: Path) -> None:
    """It is found by compinit, and zsh can read it."""
    script = share / "zsh/site-functions/_ocirt"
    subprocess.run(["zsh", "-n", str(script)], check=True)
    words = (
        'fpath=("$2" $fpath); autoload -Uz compinit; compinit -u -d "$1/dump"; print $_comps[ocirt]; autoload +X _ocirt'
    )
    command = ["zsh", "-fc", words, "zsh", str(tmp_path), str(script.parent)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
    assert (done.stdout, done.stderr) == ("_ocirt\n", "")


def test_arguments_by_what_the_help_says_of_them() -> None:
    def places(name: str, usage: str) -> list[str | tuple[str, ...]]:
        return tables.arguments(name, usage)

    assert places("state", "<container-id>") == ["ids", "nothing"]
    assert places("create", "<container-id>") == ["nothing", "nothing"]
    assert places("ps", "<container-id> [ps options]") == ["ids", "files", "nothing"]
    assert places("exec", "<container-id> <command> [args...]  |  --process FILE <container-id>") == [
        "ids",
        "files",
        "files",
    ]
    assert places("stats", "[container-id...]") == ["ids"]
    assert places("seccomp", "diff|merge <file>...") == [("diff", "merge"), "files"]
    assert places("seccomp", "test FILE SYSCALL [ARG...]  |  show FILE") == [("test", "show"), "files"]
    assert places("seccomp", "FILE [ARG...]") == ["files", "files"]
    assert places("check", "[bundle]") == ["directories", "nothing"]
    assert places("list", "") == ["nothing"]
