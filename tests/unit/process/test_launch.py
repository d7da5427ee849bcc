"""The runtime's side of the conversation, with this process playing init."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest

from ocirt.box import Box
from ocirt.channel import ASK, DONE, EOF, ERROR, EXECUTES, GO, LOG, READY, SAVED, Channel, channel_pair
from ocirt.errors import OcirtError
from ocirt.kernel.processes import reap
from ocirt.pipeline import ANSWER, INIT, Plan, Stage, Step
from ocirt.process import launch
from ocirt.process.launch import (
    INIT_DEADLINE,
    describe_status,
    end_child,
    hear_joiner,
    let_go,
    patience,
    serve,
    wait_for_exec,
)

JOURNAL: list[str] = []


class Note(Step):
    __slots__ = ()

    def __init__(self) -> None:
        self.at = ""

    def describe(self) -> str:
        return "note"

    def apply(self, box: Box) -> None:
        JOURNAL.append("answered")


def box_and_init(pid: int = 0) -> tuple[Box, Channel]:
    kernel: Any = None
    box = Box(kernel)
    box.channel, init = channel_pair()
    box.pid = pid
    return box, init


def child(code: str) -> int:
    return os.posix_spawn("/bin/sh", ["sh", "-c", code], {})


def test_ready_ends_the_service() -> None:
    box, init = box_and_init()
    init.send(READY)
    serve(Plan(clone_flags=0), box)


def test_a_question_is_answered_by_the_plan() -> None:
    JOURNAL.clear()
    box, init = box_and_init()
    init.send(ASK, "hooks")
    init.send(READY)
    serve(Plan(Stage("hooks", ANSWER, [Note()]), clone_flags=0), box)
    assert JOURNAL == ["answered"]
    assert init.receive().kind == DONE
    assert box.facts == {"hooks": ""}


def test_what_comes_with_a_question_is_a_fact() -> None:
    box, init = box_and_init()
    init.send(ASK, "listener", "7")
    init.send(READY)
    serve(Plan(Stage("listener", ANSWER, [Note()]), clone_flags=0), box)
    assert box.facts == {"listener": "7"}


def test_a_question_without_an_answer_in_the_plan_changes_no_fact() -> None:
    box, init = box_and_init()
    box.facts["root path"] = "/right"
    init.send(ASK, "root path", "/wrong")
    with pytest.raises(OcirtError) as caught:
        serve(Plan(clone_flags=0), box)
    assert caught.value.what == "init asked for 'root path', to which the plan has no answer"
    assert box.facts["root path"] == "/right"


def test_what_init_reports_is_raised_as_it_is() -> None:
    box, init = box_and_init()
    init.send_error(OcirtError("executable", "not found", at="/process/args/0", errno=2))
    with pytest.raises(OcirtError) as caught:
        serve(Plan(clone_flags=0), box)
    assert (caught.value.code, caught.value.at, caught.value.errno) == ("executable", "/process/args/0", 2)


@pytest.mark.parametrize(
    ("code", "words"),
    [("exit 3", "container init died before it was ready (exit status 3)"), ("kill -9 $$", "killed by signal 9")],
)
def test_a_dead_init_is_reported_with_its_wait_status(code: str, words: str) -> None:
    box, init = box_and_init(child(code))
    init.close()
    with pytest.raises(OcirtError) as caught:
        serve(Plan(clone_flags=0), box)
    assert caught.value.code == "init-died"
    assert words in caught.value.what


def test_log_lines_of_init_are_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    box, init = box_and_init()
    init.send(LOG, "warning", "look out")
    init.send(READY)
    serve(Plan(clone_flags=0), box)
    assert 'level=warning msg="look out"' in capfd.readouterr().err


def test_the_end_of_the_conversation_means_executing() -> None:
    box, init = box_and_init()
    init.send(EXECUTES)
    init.close()
    wait_for_exec(Plan(clone_flags=0), box)


def test_a_question_before_the_end() -> None:
    JOURNAL.clear()
    box, init = box_and_init()
    init.send(EXECUTES)
    init.send(ASK, "listener")
    answering = threading.Thread(target=lambda: (init.expect(DONE), init.close()))
    answering.start()
    wait_for_exec(Plan(Stage("listener", ANSWER, [Note()]), clone_flags=0), box)
    answering.join(10)
    assert JOURNAL == ["answered"]


def test_the_end_without_a_question_that_was_to_come() -> None:
    """By a filter that kills init for the asking."""
    box, init = box_and_init(child("kill -SYS $$"))
    init.close()
    with pytest.raises(OcirtError) as caught:
        wait_for_exec(Plan(Stage("listener", ANSWER, [Note()]), clone_flags=0), box)
    assert (caught.value.code, "killed by signal 31" in caught.value.what) == ("init-died", True)


def test_init_is_let_go_to_wait_for_start() -> None:
    box, init = box_and_init()
    let_go(Plan(clone_flags=0), box)
    assert init.receive().kind == SAVED


def test_init_is_let_go_to_execute() -> None:
    box, init = box_and_init()
    init.send(EXECUTES)

    def execute() -> None:
        JOURNAL[:] = [init.receive().kind]
        init.close()

    executing = threading.Thread(target=execute)
    executing.start()
    let_go(Plan(clone_flags=0, executes_at_once=True), box)
    executing.join(10)
    assert JOURNAL == [GO]


def test_an_end_that_was_not_announced_is_death() -> None:
    box, init = box_and_init(child("kill -9 $$"))
    init.close()
    with pytest.raises(OcirtError) as caught:
        wait_for_exec(Plan(clone_flags=0), box)
    assert (caught.value.code, caught.value.what) == (
        "init-died",
        "container init died before it was ready (killed by signal 9)",
    )


def test_a_silent_init_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "INIT_DEADLINE", 0.01)
    box, _init = box_and_init()
    box.channel.bound = patience(())
    with pytest.raises(OcirtError) as caught:
        serve(Plan(clone_flags=0), box)
    assert (caught.value.code, caught.value.what) == ("timeout", "waited 0 s for init to set the container up")


def test_hooks_prolong_the_wait() -> None:
    step = Slow()
    for seconds, bound in ((0.0, INIT_DEADLINE), (5.0, INIT_DEADLINE + 5)):
        step.seconds = seconds
        found = patience([Stage("hooks", INIT, [step])])
        assert found is not None
        assert found[0] == bound
    step.seconds = None
    assert patience([Stage("hooks", INIT, [step])]) is None


class Slow(Step):
    __slots__ = ("seconds",)


def test_a_joiner_that_dies_although_its_init_lives() -> None:
    """init holds the joiner's end of the channel."""
    ours, theirs = channel_pair()
    assert hear_joiner(ours, child("exit 0")).kind == EOF
    theirs.close()


def test_an_error_instead_of_the_end() -> None:
    box, init = box_and_init()
    init.send(ERROR, *OcirtError("executable", "exec /x: exec format error").to_record())
    with pytest.raises(OcirtError) as caught:
        wait_for_exec(Plan(clone_flags=0), box)
    assert caught.value.what == "exec /x: exec format error"


def test_undo_of_the_clone_kills_and_reaps() -> None:
    pid = child("exec sleep 1000")
    box, _ = box_and_init(pid)
    end_child(box)
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)


def test_reap_is_bounded() -> None:
    pid = child("exec sleep 1000")
    assert reap(pid, 0.01) is None
    os.kill(pid, signal.SIGKILL)
    assert describe_status(reap(pid, 10)) == "killed by signal 9"
    assert reap(pid, 10) is None
