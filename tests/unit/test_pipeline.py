"""The runner: order, context, undo."""

from __future__ import annotations

import errno
import os
import signal

import pytest

from ocirt.box import Box
from ocirt.errors import KernelError, OcirtError
from ocirt.pipeline import ANSWER, HOST, INIT, Plan, Stage, Step, Undo, run


class Note(Step):
    """Writes its name into a journal; fails when told to."""

    __slots__ = ("name", "journal", "failure")

    def __init__(self, name: str, journal: list[str], failure: BaseException | None = None) -> None:
        self.at = f"/{name}"
        self.name = name
        self.journal = journal
        self.failure = failure

    def describe(self) -> str:
        return f"note {self.name}"

    def apply(self, box: Box) -> None:
        self.journal.append(self.name)
        if self.failure:
            raise self.failure

    def undo(self, box: Box) -> None:
        self.journal.append(f"-{self.name}")


@pytest.fixture
def box() -> Box:
    return Box(None)  # type: ignore[arg-type]


def test_steps_run_in_order(box: Box) -> None:
    journal: list[str] = []
    run((Stage("one", HOST, [Note("a", journal), Note("b", journal)]), Stage("two", HOST, [Note("c", journal)])), box)
    assert journal == ["a", "b", "c"]


def test_a_failure_knows_stage_step_pointer_call_and_errno(box: Box) -> None:
    failure = KernelError(errno.EPERM, "Operation not permitted", "mount", "proc")
    with pytest.raises(OcirtError) as caught:
        run((Stage("mounts", INIT, [Note("a", [], failure)]),), box)
    error = caught.value
    assert (error.code, error.stage, error.step, error.at) == ("step-failed", "mounts", "note a", "/a")
    assert (error.call, error.errno, error.detail) == ("mount", errno.EPERM, "proc")


def test_an_error_keeps_what_it_already_says(box: Box) -> None:
    failure = OcirtError("executable", "not found", at="/process/args/0")
    with pytest.raises(OcirtError) as caught:
        run((Stage("executable", INIT, [Note("a", [], failure)]),), box)
    assert caught.value is failure
    assert (failure.at, failure.stage) == ("/process/args/0", "executable")


def test_undo_runs_backwards_from_the_failed_step(box: Box) -> None:
    journal: list[str] = []
    steps = [Note("a", journal), Note("b", journal, OSError(errno.ENOSPC, "full")), Note("c", journal)]
    with pytest.raises(OcirtError), Undo() as undo:
        run((Stage("s", HOST, steps),), box, undo)
    assert journal == ["a", "b", "-b", "-a"]


def test_undo_goes_on_when_an_undo_fails(capfd: pytest.CaptureFixture[str]) -> None:
    journal: list[str] = []

    def failing() -> None:
        raise OSError(errno.EBUSY, "busy")

    with pytest.raises(ZeroDivisionError), Undo() as undo:
        undo.push(lambda: journal.append("first"))
        undo.push(failing)
        raise ZeroDivisionError
    assert journal == ["first"]
    assert "clean-up failed too: [Errno 16] busy" in capfd.readouterr().err


def test_what_is_kept_is_not_undone() -> None:
    journal: list[str] = []
    with Undo() as undo:
        undo.push(lambda: journal.append("undone"))
        undo.keep()
    assert journal == []


def test_plan_drops_empty_stages_and_finds_answers() -> None:
    answer = Stage("hooks", ANSWER, [Note("a", [])])
    plan = Plan(Stage("empty", INIT), Stage("hooks", INIT, [Note("b", [])]), answer, clone_flags=0)
    assert [stage.place for stage in plan.stages] == [INIT, ANSWER]
    assert plan.answer("hooks") == (answer,)
    assert plan.describe() == "init   hooks      note b  [/b]\nanswer hooks      note a  [/a]\n"


def test_what_replaces_takes_back_everything() -> None:
    calls: list[str] = []
    with pytest.raises(ZeroDivisionError), Undo() as undo:
        undo.push(lambda: calls.append("first"))
        undo.replace(lambda: calls.append("all"))
        raise ZeroDivisionError
    assert calls == ["all"]


def test_a_signal_waits_for_the_clean_up() -> None:
    calls: list[str] = []

    def interrupted(_signal: int, _frame: object) -> None:
        calls.append("signal")
        raise OcirtError("interrupted", "interrupted by signal 15")

    before = signal.signal(signal.SIGTERM, interrupted)
    try:
        with pytest.raises(OcirtError), Undo() as undo:
            undo.push(lambda: calls.append("second"))
            undo.push(lambda: os.kill(os.getpid(), signal.SIGTERM))
            raise OcirtError("step-failed", "no")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert calls == ["second", "signal"]
