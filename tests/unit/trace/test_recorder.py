"""The recorder: trace context, the memory that init writes to, and what it leaves alone once it is confined."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ocirt.box import Box
from ocirt.pipeline import ANSWER, HOST, INIT, JOINER, START, Plan, Stage, Step
from ocirt.trace import recorder
from ocirt.trace.recorder import FROM_INIT, FROM_JOINER, NO_CPU, OTHER, PHASES, Context, Memory, Recorder

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Note(Step):
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.at = f"/{name}"
        self.name = name

    def describe(self) -> str:
        return f"note {self.name}"

    def apply(self, box: Box) -> None:
        pass


class Confine(Note):
    confines = True


@pytest.fixture
def directory(tmp_path: Path) -> int:
    return os.open(tmp_path, os.O_RDONLY)


def plan(*steps: Step) -> Plan:
    return Plan(
        Stage("host", HOST, [Note("host")]),
        Stage("enter", JOINER, [Note("enter")]),
        Stage("mounts", INIT, steps),
        Stage("answer", ANSWER, [Note("answer")]),
        Stage("exec", START, [Note("exec")]),
        clone_flags=0,
    )


def context() -> Context:
    return Context("", "", bytes(range(24)))


# -- trace context -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"00-{TRACE}-{PARENT}-01", (TRACE, PARENT, "01")),
        (f"00-{TRACE}-{PARENT}-00", (TRACE, PARENT, "00")),
        (f"cc-{TRACE}-{PARENT}-01-what-comes", (TRACE, PARENT, "01")),  # a later version may say more
        (f"00-{TRACE}-{PARENT}-01-more", None),
        (f"ff-{TRACE}-{PARENT}-01", None),
        (f"00-{'0' * 32}-{PARENT}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{PARENT}-01", None),
        (f"00-{TRACE[1:]}-{PARENT}-01", None),
        (f"00-{TRACE}-{PARENT}", None),
        ("", None),
    ],
)
def test_traceparent(text: str, found: object) -> None:
    assert recorder.parse_parent(text) == found


def test_a_callers_trace_is_gone_on_with() -> None:
    ours = Context(f"00-{TRACE}-{PARENT}-00", "vendor=1", bytes(24))
    assert ours.parent == PARENT
    assert ours.environment("0" * 15 + "7") == {
        "TRACEPARENT": f"00-{TRACE}-0000000000000007-00",
        "TRACESTATE": "vendor=1",
    }


def test_without_a_caller_it_is_a_new_one() -> None:
    ours = Context("nonsense", "vendor=1", bytes(range(24)))
    assert ours.parent == ""
    assert ours.environment("00000000000000ab") == {
        "TRACEPARENT": "00-000102030405060708090a0b0c0d0e0f-00000000000000ab-01"
    }


def test_a_hook_gets_the_context_of_its_step_and_keeps_its_own() -> None:
    tracer = Recorder(Context(f"00-{TRACE}-{PARENT}-01", "", bytes(24)))
    tracer.phase("first")
    tracer.phase("run a hook")
    span = recorder.span_id(tracer.context.base, recorder.RUNTIME, 1)
    assert tracer.environment({"A": "b"}) == {"A": "b", "TRACEPARENT": f"00-{TRACE}-{span}-01"}
    assert tracer.environment({"TRACEPARENT": "mine"}) == {"TRACEPARENT": "mine"}


def test_ids_differ() -> None:
    base = Context("", "", b"\xff" * 24).base
    ids = [recorder.span_id(base, who, number) for who in range(3) for number in range(-1, 50)]
    ids += [recorder.stage_id(base, who, number) for who in range(3) for number in range(50)]
    assert len(set(ids)) == len(ids)
    assert {len(one) for one in ids} == {16}
    assert Context("", "", bytes(24)).base == 1  # 0 would be no id


# -- memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [False, True])
def test_init_notes_numbers_and_the_runtime_reads_names(kept: bool, directory: int) -> None:
    tracer = Recorder(context())
    if kept:
        tracer.directory = directory
    mount = Note("mount")
    before = time.time_ns()
    tracer.share(plan(mount))
    tracer.become(INIT)
    tracer.step(Stage("mounts", INIT), mount)
    tracer.step(Stage("mounts", INIT), Note("of no plan"))
    assert tracer.memory is not None
    memory = Memory.open(directory) if kept else tracer.memory
    assert memory is not None
    marks = memory.marks(FROM_INIT)
    assert [mark.name.what for mark in marks] == [PHASES[0], "note mount", OTHER]
    assert [(mark.name.stage, mark.name.place, mark.name.at) for mark in marks][1] == ("mounts", INIT, "/mount")
    assert before <= marks[0].time <= marks[1].time <= time.time_ns()
    assert 0 < marks[0].cpu <= marks[1].cpu
    assert memory.marks(FROM_JOINER) == []
    assert (memory.context.trace_id, memory.context.base) == (tracer.context.trace_id, tracer.context.base)


def test_a_hook_of_init_gets_the_id_of_inits_step() -> None:
    tracer = Recorder(context())
    hook = Note("hook")
    tracer.share(plan(hook))
    tracer.become(INIT)
    tracer.step(Stage("mounts", INIT), hook)
    span = recorder.span_id(tracer.context.base, FROM_INIT, 1)
    assert tracer.environment({})["TRACEPARENT"].split("-")[2] == span


@pytest.mark.parametrize(("user_space", "seen"), [(True, 3), (False, 2)])
def test_what_is_confined_asks_the_kernel_for_nothing(
    monkeypatch: pytest.MonkeyPatch, user_space: bool, seen: int
) -> None:
    tracer = Recorder(context())
    confine, after = Confine("confine"), Note("after")
    tracer.share(plan(confine, after))
    tracer.become(INIT)
    monkeypatch.setattr(recorder, "reads_clock_in_user_space", lambda: user_space)
    tracer.step(Stage("mounts", INIT), confine)
    monkeypatch.setattr(recorder, "cpu_time", lambda: pytest.fail("a system call"))
    tracer.step(Stage("mounts", INIT), after)
    assert tracer.memory is not None
    marks = tracer.memory.marks(FROM_INIT)
    assert len(marks) == seen
    assert [mark.cpu == NO_CPU for mark in marks] == [False, False, True][:seen]


def test_more_marks_than_there_is_room_for_are_left_out() -> None:
    tracer = Recorder(context())
    tracer.share(plan())
    tracer.become(INIT)
    for _ in range(100):
        tracer.phase(PHASES[1])
    assert tracer.memory is not None
    assert len(tracer.memory.marks(FROM_INIT)) == len(tracer.memory.names) + len(PHASES)
    assert tracer.memory.marks(FROM_JOINER) == []


def test_memory_without_a_file(directory: int) -> None:
    assert Memory.open(directory) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"x",
        lambda data: data[:-1],
        lambda data: data[:20],
        lambda data: b"\xff" * 16 + data[16:],
        lambda data: data.replace(b"note", b"no\0e", 1),
        lambda data: data.replace(b'"000102', b'"zz0102', 1),
        lambda data: data.replace(b'["be born","","",""]', b'["be born",{"":1}] '),
    ],
)
def test_memory_that_is_damaged_is_none(directory: int, tmp_path: Path, damage: object) -> None:
    Memory.make(plan(Note("a")), directory, context())
    file = tmp_path / recorder.FILE
    assert Memory.open(directory) is not None
    file.write_bytes(damage(file.read_bytes()))  # type: ignore[operator]
    assert Memory.open(directory) is None


def test_numbers_that_init_made_up_are_bounded() -> None:
    memory = Memory.make(plan(), -1, context())
    area = memory._area(FROM_INIT)
    memory._memory[area : area + 8] = b"\xff" * 8  # the number of marks
    memory._memory[area + 8 : area + 32] = b"\xff" * 24  # the first one
    marks = memory.marks(FROM_INIT)
    assert len(marks) == len(memory.names) + len(PHASES)
    assert marks[0].name.what == OTHER


# -- the beginning -------------------------------------------------------------------------------


def test_when_a_process_began() -> None:
    now = time.time_ns()
    assert recorder.process_began(now - 10**18) == now - 10**18  # not asked: it says more than the ticks do
    by_ticks = recorder.process_began(now + 10**18)
    age = (
        float(Path("/proc/uptime").read_text().split()[0]) - int(Path("/proc/self/stat").read_text().split()[21]) / 100
    )
    assert by_ticks == pytest.approx(time.time_ns() - age * 1e9, abs=3e7)
