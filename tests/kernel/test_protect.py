"""ocirt/launcher/protect.c alone, in a program that tells how it came to be executed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]
OVERLAY, COPY = "/victim", "/memfd:ocirt (deleted)"

PROGRAM = r"""
#define _GNU_SOURCE
#include "protect.c"
#include <dirent.h>
int main(int argc, char **argv)
{
    protect_executable(argv);
    char exe[4096], comm[16];
    exe[readlink("/proc/self/exe", exe, sizeof exe - 1)] = '\0';
    prctl(PR_GET_NAME, comm);
    printf("{\"exe\": \"%s\", \"argc\": %d, \"name\": \"%s\", \"comm\": \"%s\", \"fds\": [", exe, argc, argv[0], comm);
    for (int fd = 0, any = 0; fd < 64; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            printf("%s%d", any++ ? ", " : "", fd);
    const char *kept = getenv("KEPT");
    printf("], \"kept\": \"%s\"}\n", kept ? kept : "");
    return 0;
}
"""

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("victim")
    (directory / "victim.c").write_text(PROGRAM)
    made = directory / "victim"
    options = ["-Wall", "-Wextra", "-Werror", "-O2", f"-I{TREE}/ocirt/launcher", "-o", made]
    subprocess.run(["gcc", *options, directory / "victim.c"], check=True, timeout=60)
    for part in (directory, *directory.parents[:2]):  # pytest's are closed to others
        part.chmod(0o755)
    return made


def told(*command: Path | str, **environment: str) -> dict[str, object]:
    """What the victim says of itself."""
    env = {"PATH": os.environ["PATH"], **environment}
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True, timeout=30)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.mark.parametrize("words", [(), ("start", "x"), ("--root", "/create", "kill"), ("running",)])
def test_what_enters_no_container_is_executed_once(victim: Path, words: tuple[str, ...]) -> None:
    assert told(victim, *words)["exe"] == str(victim)


@pytest.mark.parametrize("word", ["create", "run", "exec", "restore"])
def test_what_enters_one_is_executed_from_an_overlay(victim: Path, word: str) -> None:
    said = told(victim, "--root", "/x", word, "a b", KEPT="yes")
    assert said == {
        "exe": OVERLAY,
        "argc": 5,
        "name": str(victim),
        "comm": "victim",
        "fds": [0, 1, 2],
        "kept": "yes",
    }


def test_a_copy_where_it_is_wanted(victim: Path) -> None:
    said = told(victim, "run", OCIRT_SELF_EXE="independent-data-copy")
    assert (said["exe"], said["comm"], said["fds"]) == (COPY, "victim", [0, 1, 2])


def test_it_is_not_executed_a_third_time(victim: Path) -> None:
    command = ["strace", "-f", "-e", "trace=execve,execveat", victim, "run"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    assert [line.partition("(")[0] for line in done.stderr.splitlines() if "exec" in line] == ["execve", "execveat"]


@pytest.mark.parametrize("low", [0, 2])
def test_a_caller_without_standard_streams(victim: Path, low: int) -> None:
    assert told("sh", "-c", f'exec {low}<&-; exec "$0" run', victim)["exe"] == OVERLAY


@pytest.fixture
def another(victim: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(victim, tmp_path / "victim"))


def test_an_executable_without_a_name(another: Path) -> None:
    """As an upgrade leaves a running one."""
    script = 'exec 9<"$0"; rm "$0"; exec /proc/self/fd/9 run'
    assert told("sh", "-c", script, another)["exe"] == COPY


def test_a_name_that_leads_to_another_file(another: Path) -> None:
    script = 'exec 9<"$0"; rm "$0"; cp /bin/false "$0 (deleted)"; exec /proc/self/fd/9 run'
    assert told("sh", "-c", script, another)["exe"] == COPY


def test_an_executable_that_is_a_mount(victim: Path, tmp_path: Path) -> None:
    """Its directory in an overlay would show what lies below the mount."""
    place = tmp_path / "victim"
    place.write_text("#!/bin/false\n")
    place.chmod(0o755)
    script = 'mount --bind "$1" "$0" && exec "$0" run'
    assert told("unshare", "--mount", "sh", "-c", script, place, victim)["exe"] == COPY


def test_a_read_only_overlay_that_is_a_file_system_of_the_host(victim: Path, tmp_path: Path) -> None:
    """It can be remounted by who owns the namespace."""
    for name in ("low", "lower", "merged"):
        (tmp_path / name).mkdir()
    shutil.copy(victim, tmp_path / "low/victim")
    script = 'cd "$0" && mount -t overlay -o ro,lowerdir=low:lower none merged && exec merged/victim run'
    assert told("unshare", "--mount", "sh", "-c", script, tmp_path)["exe"] == COPY


def test_without_the_right_to_mount(victim: Path) -> None:
    assert told("setpriv", "--bounding-set=-all", "--inh-caps=-all", victim, "run")["exe"] == COPY


def test_in_a_user_namespace(victim: Path) -> None:
    assert told("unshare", "--user", "--map-root-user", "--mount", victim, "run")["exe"] == OVERLAY


@pytest.mark.parametrize(("words", "code"), [(["run"], 1), (["exec"], 255)])
def test_a_wish_that_is_not_understood(victim: Path, words: list[str], code: int) -> None:
    env = {"OCIRT_SELF_EXE": "x"}
    done = subprocess.run([victim, *words], env=env, check=False, capture_output=True, text=True, timeout=30)
    expected = "ocirt: OCIRT_SELF_EXE: x: neither ro-shared-page nor independent-data-copy\n"
    assert (done.returncode, done.stdout, done.stderr) == (code, "", expected)


def test_without_procfs(victim: Path, tmp_path: Path) -> None:
    script = 'mount -t tmpfs none /proc && exec "$0" exec'
    command = ["unshare", "--mount", "sh", "-c", script, victim]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    expected = "ocirt: the executable cannot be protected from the container: /proc/self/exe: No such file or directory"
    assert (done.returncode, done.stdout, done.stderr) == (255, "", f"{expected}\n")
