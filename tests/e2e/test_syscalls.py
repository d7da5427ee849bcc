"""H4: what init asks of the kernel once the container's files are there, as strace(1) sees it; P2, P3, P11."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import Runtime

pytestmark = pytest.mark.only_ocirt("the rules are ocirt's own")

CALLS = "%file,%desc,%process,pivot_root,setns,move_mount,open_tree,fsopen,mount_setattr"
# In the container's root, without magic links; or the program, looked up with the user's own rights.
BY_PATH = (
    'openat(AT_FDCWD, "/", O_RDONLY|O_CLOEXEC|O_PATH|O_DIRECTORY)',
    'openat2(AT_FDCWD, "/", ',
    'openat2(AT_FDCWD, "/etc/passwd", ',
    'newfstatat(AT_FDCWD, "/bin/true", ',
    'faccessat2(AT_FDCWD, "/bin/true", ',
    'execve("/bin/true", ',
    'chdir("/")',
)
BY_NAME = re.compile(r'^(?!getcwd)\w+\((AT_FDCWD, |"[^"]*", )?"/')


def traced(runtime: Runtime, tmp_path: Path, *arguments: str) -> list[tuple[int, str]]:
    """(process, call) of one command and its children."""
    log = tmp_path / "strace"
    command = ["strace", "-f", "-s", "300", "-e", f"trace={CALLS}", "-o", log, *runtime.arguments(*arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done
    found = []
    for line in log.read_text(errors="replace").splitlines():
        process, _, call = line.partition(" ")
        found.append((int(process), call.strip()))
    return found


def until_execve(calls: list[tuple[int, str]], process: int, first: str) -> list[str]:
    """The calls of the process from that one to its execve, or to its end."""
    own = [call for who, call in calls if who == process]
    begin = next(number for number, call in enumerate(own) if call.startswith(first))
    end = next((number for number, call in enumerate(own) if call.startswith("execve(")), len(own))
    return own[begin : end + 1]


def who(calls: list[tuple[int, str]], first: str) -> int:
    """The process that is the first to make this call."""
    return next(process for process, call in calls if call.startswith(first))


def offences(calls: list[str]) -> list[str]:
    """Calls that go by an absolute path, or read what a Python program or glibc would."""
    named = [call for call in calls if BY_NAME.match(call) and not call.startswith(BY_PATH)]
    modules = [call for call in calls if re.search(r'\.(py|pyc|so[.0-9]*)"|/nsswitch|gconv', call)]
    followed = [call for call in calls if "O_CREAT" in call and not re.search("O_NOFOLLOW|O_EXCL", call)]
    magic = [call for call in calls if call.startswith("openat2(") and "RESOLVE_NO_MAGICLINKS" not in call]
    return named + modules + followed + magic


def test_after_pivot_root(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    bundle.args("/bin/true").save()
    calls = traced(runtime, tmp_path, "run", "--bundle", str(bundle.path), bundle.id)
    assert offences(until_execve(calls, who(calls, "pivot_root("), "pivot_root(")) == []


def test_after_setns(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    runtime.launch(bundle.args("/bin/probe", "pause"))
    calls = traced(runtime, tmp_path, "exec", bundle.id, "/bin/true")
    runtime.stop(bundle)
    assert offences(until_execve(calls, who(calls, "setns("), "setns(")) == []
    assert offences(until_execve(calls, who(calls, 'execve("/bin/true"'), "")) == []


def test_mounts_before_pivot_root_go_by_descriptor(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """By path only the propagation of the parents of the root is changed, and files of the host are cloned."""
    source = tmp_path / "source"
    source.mkdir()
    bundle.bind(source, "/made/here").mount("/made/there", "tmpfs", "tmpfs").args("/bin/true").save()
    calls = traced(runtime, tmp_path, "run", "--bundle", str(bundle.path), bundle.id)
    own = until_execve(calls, who(calls, "pivot_root("), "")
    mounts = [call for call in own if call.startswith("mount(")]
    assert len(mounts) > 5
    by_path = [call for call in mounts if not re.match(r'mount\("[^"]*", "\."', call)]
    assert [call for call in by_path if not re.search(r'^mount\("", .*MS_(REC\|MS_SLAVE|PRIVATE), NULL', call)] == []
    assert [call for call in own if re.match(r'move_mount\([^,]*, "", [^,]*, "."', call)] == []


def test_no_thread_is_ever_made(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """P11: unshare(CLONE_NEWUSER) fails with one, and a lock that another held at the clone stays locked for ever."""
    bundle.args("/bin/true").save()
    calls = traced(runtime, tmp_path, "run", "--bundle", str(bundle.path), bundle.id)
    births = [call for _, call in calls if call.startswith(("clone(", "clone3(", "fork(", "vfork("))]
    assert births
    assert not [call for call in births if "CLONE_THREAD" in call]


def test_the_rules_see_an_offence() -> None:
    wrong = [
        'openat(AT_FDCWD, "/etc/group", O_RDONLY|O_CLOEXEC) = 3',
        'openat(5, "libnss_files.so.2", O_RDONLY) = 3',
        'openat(5, "usr/lib/python3.11/json.py", O_RDONLY) = 3',
        'openat(5, "name", O_WRONLY|O_CREAT, 0644) = 3',
        'openat2(5, "dev", {flags=O_PATH, resolve=RESOLVE_IN_ROOT}, 24) = 3',
        'mount("", "/proc", "proc", 0, NULL) = 0',
    ]
    assert sorted(offences(wrong)) == sorted(wrong)
