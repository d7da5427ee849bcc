"""From args[0] to execve: what is found, what is said, what is handed over."""

from __future__ import annotations

import errno
import stat
from typing import Any

import pytest

from ocirt.channel import EXECUTES, channel_pair
from ocirt.config.views import Process
from ocirt.errors import OcirtError
from ocirt.stages.payload import (
    DEFAULT_PATH,
    AnnounceExecution,
    BuildImage,
    CloseDescriptors,
    Execute,
    LookUpExecutable,
    ResetSignals,
    environment,
    executable,
    no_new_privileges,
    payload,
)
from tests.support.recorder import kernel_error, recorded_box

FILE = stat.S_IFREG | 0o755
DIRECTORY = stat.S_IFDIR | 0o755


def process(**members: Any) -> Process:
    return Process({"cwd": "/", "args": ["sh", "-c", "true"], **members}, "/process")


def files(**modes: int) -> Any:
    """stat_mode of a system with these files, their names with _ for /."""

    def stat_mode(program: str) -> int:
        key = program.replace("/", "_")
        if key not in modes:
            raise kernel_error(errno.ENOENT, "stat")
        return modes[key]

    return stat_mode


def test_the_first_directory_of_path_that_has_it_wins() -> None:
    box, _ = recorded_box(stat_mode=files(_a_sh=DIRECTORY, _b_sh=FILE, _c_sh=FILE))
    LookUpExecutable("", "sh", "/a:/b:/c").apply(box)
    assert box.facts["executable"] == "/b/sh"


def test_an_empty_element_of_path_is_the_working_directory() -> None:
    box, _ = recorded_box(stat_mode=files(**{"._sh": FILE}))
    LookUpExecutable("", "sh", "/a:").apply(box)
    assert box.facts["executable"] == "./sh"


@pytest.mark.parametrize("name", ["foo", ""])
def test_what_is_nowhere_in_path_is_not_found(name: str) -> None:
    box, _ = recorded_box(stat_mode=files())
    with pytest.raises(OcirtError) as caught:
        LookUpExecutable("", name, "/a").apply(box)
    assert caught.value.what == f'exec: "{name}": executable file not found in $PATH'
    assert (caught.value.code, caught.value.errno) == ("executable", errno.ENOENT)


@pytest.mark.parametrize(
    ("answers", "what", "number"),
    [
        ({"stat_mode": files()}, 'exec: "/foo": stat /foo: no such file or directory', errno.ENOENT),
        ({"stat_mode": DIRECTORY}, 'exec: "/foo": is a directory', errno.EACCES),
        ({"stat_mode": FILE, "eaccess": kernel_error(errno.EACCES)}, 'exec: "/foo": permission denied', errno.EACCES),
        (
            {"stat_mode": kernel_error(errno.ELOOP)},
            'exec: "/foo": stat /foo: too many levels of symbolic links',
            errno.ELOOP,
        ),
    ],
)
def test_a_path_says_what_is_wrong_with_it(answers: dict[str, Any], what: str, number: int) -> None:
    box, _ = recorded_box(**answers)
    with pytest.raises(OcirtError) as caught:
        LookUpExecutable("", "/foo", "/bin").apply(box)
    assert (caught.value.code, caught.value.what, caught.value.errno) == ("executable", what, number)


@pytest.mark.parametrize(
    ("env", "path"), [([], DEFAULT_PATH), (["PATH=/x"], "/x"), (["PATH=/x", "PATH=/y"], "/y"), (["PATH="], "")]
)
def test_path_is_that_of_the_process(env: list[str], path: str) -> None:
    (step,) = executable(process(env=env))
    assert isinstance(step, LookUpExecutable)
    assert (step.search_path, step.at) == (path, "/process/args/0")


def test_the_last_of_a_variable_wins_and_keeps_its_place() -> None:
    assert list(environment(("A=1", "B=2", "A=3=4"), ("C=",)).items()) == [("B", "2"), ("A", "3=4"), ("C", "")]


def test_payload_is_laid_out_reset_marked_and_executed() -> None:
    steps = list(payload(process(env=["A=1", "HOME="]), 2, ("LISTEN_FDS=2",)))
    assert [type(step) for step in steps] == [BuildImage, ResetSignals, CloseDescriptors, AnnounceExecution, Execute]
    box, kernel = recorded_box(prepare_exec="image")
    runtime, box.channel = channel_pair()
    box.facts.update(home="/root", executable="/bin/sh")
    for step in steps:
        step.apply(box)
    assert kernel.calls == [
        ("prepare_exec", ("sh", "-c", "true"), ("A=1", "LISTEN_FDS=2", "HOME=/root")),
        ("reset_signals",),
        ("close_range", 5, 2**32 - 1, 4),
        ("execve", "/bin/sh", "image"),
    ]
    assert runtime.receive().kind == EXECUTES


def test_a_home_of_its_own_needs_no_look_up() -> None:
    build = next(iter(payload(process(env=["HOME=/h"]))))
    box, kernel = recorded_box()
    build.apply(box)
    assert kernel.calls == [("prepare_exec", ("sh", "-c", "true"), ("HOME=/h",))]


def test_the_last_steps_stand_right_before_execve() -> None:
    last = ResetSignals()
    steps = list(payload(process(), last=[last]))
    assert steps[-2] is last
    assert isinstance(steps[-1], Execute)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOEXEC, "exec format error"),
        (errno.ENOENT, "no such file or directory"),
        (errno.EACCES, "permission denied"),
    ],
)
def test_a_failed_execve_is_told_in_words_engines_know(number: int, reason: str) -> None:
    box, _ = recorded_box(execve=kernel_error(number, "execve"))
    box.facts["executable"] = "/bin/sh"
    box.image = None  # type: ignore[assignment]
    with pytest.raises(OcirtError) as caught:
        Execute("/process/args/0").apply(box)
    error = caught.value
    assert (error.code, error.what, error.call, error.errno, error.detail) == (
        "executable",
        f"exec /bin/sh: {reason}",
        "execve",
        number,
        "/bin/sh",
    )


def test_no_new_privs_only_when_asked_for() -> None:
    (step,) = no_new_privileges(process(noNewPrivileges=True))
    box, kernel = recorded_box()
    step.apply(box)
    assert (kernel.calls, step.at) == ([("set_no_new_privs",)], "/process/noNewPrivileges")
    assert list(no_new_privileges(process(noNewPrivileges=False))) == []
