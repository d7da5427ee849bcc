"""ocirt/launcher/protect.c and early.c alone, in a program that tells how it came to be executed.

It begins before the C library, as the launcher does, or with it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from ocirt.launcher import native
from tests.support.runtime import poll

TREE = Path(__file__).resolve().parents[2]
OVERLAY, COPY = "/victim", "/memfd:ocirt (deleted)"

PROGRAM = r"""
#define _GNU_SOURCE
#include "protect.c"
#include <stdlib.h>
static void show(const char *name)
{
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/self/%s", name);
    int fd = open(path, O_RDONLY);
    ssize_t size = read(fd, text, sizeof text);
    close(fd);
    printf("\"%s\": \"", name);
    for (ssize_t i = 0; i < size; i++)
        putchar(text[i] == '\0' ? '|' : text[i]);
    printf("\", ");
}
int main(int argc, char **argv)
{
    int early = is_protected;
    protect_executable(argv);
    char exe[4096], comm[16];
    exe[readlink("/proc/self/exe", exe, sizeof exe - 1)] = '\0';
    prctl(PR_GET_NAME, comm);
    printf("{");
    if (getenv("LAST")) {
        show("cmdline");
        show("environ");
    }
    printf("\"exe\": \"%s\", \"argc\": %d, \"name\": \"%s\", \"comm\": \"%s\", \"fds\": [", exe, argc, argv[0], comm);
    for (int fd = 0, any = 0; fd < 64; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            printf("%s%d", any++ ? ", " : "", fd);
    const char *kept = getenv("KEPT");
    printf("], \"kept\": \"%s\", \"early\": %s}\n", kept ? kept : "", early ? "true" : "false");
    return 0;
}
"""

pytestmark = pytest.mark.root


# execve(2) with any arguments and environment: of each the words, and then the environment's.
EXECVE = """
import ctypes, json, sys
def words(texts):
    return (ctypes.c_char_p * (len(texts) + 1))(*(text.encode() for text in texts), None)
file, arguments, environment = json.load(sys.stdin)
ctypes.CDLL(None).execve(file.encode(), words(arguments), words(environment))
"""


@pytest.fixture(scope="module", params=["early", "late"])
def victim(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    entry = native.entry() if request.param == "early" else ()
    if request.param == "early" and not entry:
        pytest.skip("no early start on this architecture")
    directory = tmp_path_factory.mktemp(request.param)
    (directory / "victim.c").write_text(PROGRAM)
    made = directory / "victim"
    options = ["-Wall", "-Wextra", "-Werror", "-O2", f"-I{TREE}/ocirt/launcher", "-o", made, *entry]
    options += ["-static", "-no-pie"] if entry else []
    subprocess.run(["gcc", *options, directory / "victim.c"], check=True, timeout=60)
    for part in (directory, *directory.parents[:2]):  # pytest's are closed to others
        part.chmod(0o755)
    return made


def told(*command: Path | str, **environment: str) -> dict[str, object]:
    """What the victim says of itself."""
    env = {"PATH": os.environ["PATH"], **environment}
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True, timeout=30)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def told_by_execve(victim: Path, words: Sequence[str], environment: Sequence[str]) -> dict[str, object]:
    given = json.dumps([str(victim), words, environment])
    command = [sys.executable, "-c", EXECVE]
    done = subprocess.run(command, input=given, check=True, capture_output=True, text=True, timeout=30)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def is_early(victim: Path) -> bool:
    return victim.parent.name.startswith("early")


def calls(*command: Path | str, options: Sequence[str] = ()) -> list[str]:
    """The names of the system calls of a command, which succeeds, as strace(1) shows them."""
    traced = ["strace", "-f", *options, *command]
    done = subprocess.run(traced, check=True, capture_output=True, text=True, timeout=30)
    return [line.partition("(")[0] for line in done.stderr.splitlines() if "(" in line]


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
        "early": is_early(victim),
    }


def test_a_copy_where_it_is_wanted(victim: Path) -> None:
    said = told(victim, "run", OCIRT_SELF_EXE="independent-data-copy")
    assert (said["exe"], said["comm"], said["fds"]) == (COPY, "victim", [0, 1, 2])


def test_how_often_it_is_executed(victim: Path) -> None:
    executions = calls(victim, "run", options=["-e", "trace=execve,execveat"])
    assert executions == (["execve"] if is_early(victim) else ["execve", "execveat"])


def test_the_early_start_does_nothing_else(victim: Path) -> None:
    """Of the C library's 0.2 ms; and what it has done is not done again."""
    if not is_early(victim):
        pytest.skip("it begins with the C library")
    names = calls(victim, "run")
    looks = ["openat", "fstatfs", "readlink", "openat", "statx", "statx", "statx"]
    overlay = ["fsopen", "fsconfig", "fsconfig", "fsmount", "close"]
    begin = ["execve", *looks, *overlay, "openat", "brk", "statx", "statx"]
    assert names[: len(begin)] == begin
    end = names.index("prctl")
    assert set(names[len(begin) : end]) == {"mmap"}
    assert names[end : end + 5] == ["prctl", "close", "close", "close", "close"]
    assert not {"fstatfs", "statx", "open_tree", "fsopen"} & set(names[end + 5 :])


def told_where_refused(tmp_path: Path, victim: Path, *faults: str) -> dict[str, object]:
    inject = [word for fault in faults for word in ("-e", f"inject={fault}")]
    return told("strace", "-f", "-o", tmp_path / "calls", *inject, victim, "run")


@pytest.mark.parametrize("call", ["fstatfs", "statx", "fsopen", "fsconfig", "fsmount", "execveat", "open_tree"])
def test_where_the_kernel_refuses_an_overlay(victim: Path, tmp_path: Path, call: str) -> None:
    """It is a copy, and nothing of the attempts is left open."""
    faults = [f"{call}:error=EPERM"]
    if call == "execveat":
        faults = [f"{call}:error=EPERM:when=1" + "..2" * is_early(victim)]  # of early.c, and of protect.c
    if is_early(victim):
        faults.append("prctl:error=EPERM:when=1")
    said = told_where_refused(tmp_path, victim, *faults)
    assert (said["exe"], said["fds"], said["early"]) == (COPY, [0, 1, 2], False)


@pytest.mark.parametrize("fault", ["mmap:error=ENOMEM:when=1", "mmap:error=ENOMEM:when=2", "prctl:error=EINVAL:when=1"])
def test_where_the_kernel_refuses_to_change_the_process(victim: Path, tmp_path: Path, fault: str) -> None:
    """It is executed again from the overlay."""
    if not is_early(victim):
        pytest.skip("it does not ask for that")
    said = told_where_refused(tmp_path, victim, fault)
    assert (said["exe"], said["fds"], said["early"]) == (OVERLAY, [0, 1, 2], True)
    assert "execveat(" in (tmp_path / "calls").read_text()


def test_an_executable_that_is_replaced_meanwhile(victim: Path, another: Path, tmp_path: Path) -> None:
    """It may be of the same layout: but what runs on is what was begun, or the new one from its beginning."""
    if not is_early(victim):
        pytest.skip("it maps nothing")
    new = tmp_path / "new"
    new.write_bytes(victim.read_bytes().replace(b'"kept', b'"KEPT'))
    new.chmod(0o755)
    command = ["strace", "-f", "-o", tmp_path / "calls", "-e", "inject=fsmount:delay_exit=2000000", another, "run"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        calls = tmp_path / "calls"
        poll(lambda: calls.exists() and "FSCONFIG_CMD_CREATE" in calls.read_text(), "the overlay")
        new.rename(another)
        out, _ = process.communicate(timeout=30)
    assert "KEPT" in json.loads(out)
    assert "execveat(" in calls.read_text()


def test_what_the_process_shows_of_itself(victim: Path) -> None:
    """proc_pid_cmdline(5), proc_pid_environ(5): as the caller gave them, where the process was changed too."""
    words, environment = ["x", "a b", "run", ""], ["KEPT=yes", "LAST="]
    said = told_by_execve(victim, words, environment)
    assert said["cmdline"] == "".join(f"{word}|" for word in words)
    assert said["environ"] == "".join(f"{entry}|" for entry in environment)


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


def test_no_arguments_at_all(victim: Path) -> None:
    """Linux makes one of none, which is empty (5.18)."""
    said = told_by_execve(victim, [], ["KEPT=yes"])
    assert (said["exe"], said["name"], said["kept"], said["early"]) == (str(victim), "", "yes", False)


def test_a_name_that_is_empty(victim: Path) -> None:
    said = told_by_execve(victim, ["", "run"], [])
    assert (said["exe"], said["name"]) == (OVERLAY, "")


def test_a_large_environment(victim: Path) -> None:
    large = [f"V{number}={'x' * 100_000}" for number in range(15)]
    said = told_by_execve(victim, ["x/y", "run"], [*large, "KEPT=yes"])
    assert (said["exe"], said["name"], said["kept"]) == (OVERLAY, "x/y", "yes")
    assert told_by_execve(victim, ["x", "run"], [*large, "OCIRT_SELF_EXE=independent-data-copy"])["exe"] == COPY


@pytest.mark.parametrize(
    ("environment", "exe"),
    [
        (["OCIRT_SELF_EXE=", "OCIRT_SELF_EXE=independent-data-copy"], OVERLAY),
        (["OCIRT_SELF_EXE=independent-data-copy", "OCIRT_SELF_EXE="], COPY),
        (["XOCIRT_SELF_EXE=x", "OCIRT_SELF_EXEX=x", "OCIRT_SELF_EXE", "OCIRT_SELF_EX=x"], OVERLAY),
    ],
)
def test_the_first_wish_counts(victim: Path, environment: list[str], exe: str) -> None:
    assert told_by_execve(victim, ["x", "run"], environment)["exe"] == exe


@pytest.mark.parametrize("options", [("-O0",), ("-O2",), ("-O3", "-fstack-protector-all")])
def test_the_early_start_uses_nothing_of_the_c_library(tmp_path: Path, options: Sequence[str]) -> None:
    """Nor memory of a thread's, which is found by a register that is not set yet."""
    if not native.entry():
        pytest.skip("no early start on this architecture")
    source, made = tmp_path / "alone.c", tmp_path / "alone.o"
    source.write_text('#define _GNU_SOURCE\n#include "early.c"\n')
    subprocess.run(["gcc", *options, f"-I{TREE}/ocirt/launcher", "-c", "-o", made, source], check=True, timeout=60)
    wanted = subprocess.run(["nm", "-u", made], check=True, capture_output=True, text=True, timeout=30).stdout
    code = subprocess.run(["objdump", "-d", made], check=True, capture_output=True, text=True, timeout=30).stdout
    assert wanted.split() == ["U", "__ehdr_start", "U", "_start"]
    assert "before_the_c_library" in code
    assert "%fs:" not in code
