"""What --trace writes: both formats, in a file that several commands add to, and what the chart makes of it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from google.protobuf import json_format
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from ocirt.box import Box
from ocirt.errors import OcirtError, UsageError
from ocirt.pipeline import HOST, INIT, Plan, Stage, Step
from ocirt.trace import chart
from ocirt.trace.file import TraceFile
from ocirt.trace.recorder import FROM_INIT, Context, Mark, Memory, Name, Recorder
from ocirt.trace.spans import Process, processes

T0 = 1_700_000_000_000_000_000  # nanoseconds
ENDS = Mark(-1, T0 + 10_000_000, 5_000_000, Name(""))


class Note(Step):
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.at = f"/{name}"
        self.name = name

    def describe(self) -> str:
        return f'note "{self.name}"'

    def apply(self, box: Box) -> None:
        pass


def recorded() -> Recorder:
    """The runtime: 1 ms, a stage of 1 and 2 ms, 6 ms, of which init has 4."""
    tracer = Recorder(Context("", "", bytes(range(24))))
    stage, a, b = Stage("sources", HOST), Note("a"), Note("b")
    plan = Plan(Stage("mounts", INIT, [a, b]), clone_flags=0)
    tracer.memory = Memory.make(plan, -1, tracer.context)
    tracer.pids = {0: 100, 1: 0, 2: 101}
    tracer.was(T0, 0, "start the interpreter")
    tracer.marks += [(T0 + 1_000_000, 900_000, (stage, a)), (T0 + 2_000_500, 1_900_000, (stage, b))]
    tracer.was(T0 + 4_000_000, 2_000_000, "wait for init to be ready")
    tracer.memory.note(FROM_INIT, T0 + 5_000_000, 0, "be born")
    tracer.memory.note(FROM_INIT, T0 + 5_500_000, 400_000, id(a))
    tracer.memory.note(FROM_INIT, T0 + 7_000_000, 500_000, id(b))
    tracer.was(T0 + 9_000_000, 2_500_000, "write the trace")
    return tracer


def found(error: str = "", step: str = "") -> list[Process]:
    return processes(recorded(), "ocirt create web1", error, step, ENDS)


def write(path: Path, form: str = "", **what: str) -> str:
    TraceFile(str(path), form).add(found(**what), ENDS)
    return path.read_text()


def rows(read: list[Process]) -> list[list[object]]:
    return [[span.kind, span.name, span.cpu, span.place, span.at, span.error] for one in read for span in one.spans]


def test_every_moment_is_named() -> None:
    for process in found():
        leaves = [span for span in process.spans if span.kind in ("phase", "step")]
        assert [one.end for one in leaves[:-1]] == [one.start for one in leaves[1:]]
        assert (leaves[0].start, leaves[-1].end) == (process.spans[0].start, process.spans[0].end)
        assert process.named() == 1.0
    runtime, init = found()
    assert [span.wall for span in runtime.spans] == [
        10_000_000,
        1_000_000,
        3_000_000,
        1_000_500,
        1_999_500,
        5_000_000,
        1_000_000,
    ]
    assert [span.cpu for span in runtime.spans] == [
        5_000_000,
        900_000,
        1_100_000,
        1_000_000,
        100_000,
        500_000,
        2_500_000,
    ]
    # Its last step is over when the runtime goes on.
    assert [(span.kind, span.wall) for span in init.spans] == [
        ("process", 4_000_000),
        ("phase", 500_000),
        ("stage", 3_500_000),
        ("step", 1_500_000),
        ("step", 2_000_000),
    ]


def test_named_sees_a_gap() -> None:
    process = found()[0]
    del process.spans[1]
    assert process.named() == pytest.approx(0.9)


def test_spans_know_their_parents() -> None:
    runtime, init = found()
    assert runtime.spans[0].parent == ""
    assert init.spans[0].parent == runtime.spans[0].id
    whole, phase, stage, step, *_ = runtime.spans
    assert (phase.parent, stage.parent, step.parent) == (whole.id, whole.id, stage.id)
    ids = [span.id for process in (runtime, init) for span in process.spans]
    assert len(set(ids)) == len(ids)


def test_the_step_that_failed_says_so() -> None:
    runtime, init = found("ocirt create web1: no", 'note "b"')
    assert runtime.spans[0].error == "ocirt create web1: no"
    assert [span.name for span in init.spans if span.error] == ['note "b"']
    assert [span.name for span in runtime.spans[1:] if span.error] == []


def test_what_init_cannot_have_noted_is_left_out() -> None:
    tracer = recorded()
    assert tracer.memory is not None
    tracer.memory.note(FROM_INIT, 5, 0, "be born")
    tracer.memory.note(FROM_INIT, 2**64 - 1, 0, "be born")
    _, init = processes(tracer, "ocirt", "", "", ENDS)
    assert len(init.spans) == 5


def test_chrome(tmp_path: Path) -> None:
    events = json.loads(write(tmp_path / "trace.json"))
    assert [event["ph"] for event in events] == ["M", *"X" * 7, "M", *"X" * 5]
    assert events[0] == {
        "name": "process_name",
        "ph": "M",
        "pid": 100,
        "tid": 100,
        "args": {"name": "ocirt create web1"},
    }
    assert events[4] == {
        "name": 'note "a"',
        "cat": "step",
        "ph": "X",
        "ts": T0 // 1000 + 1000,
        "dur": 1000,
        "pid": 100,
        "tid": 100,
        "args": {
            "wall_us": 1000.5,
            "cpu_us": 1000.0,
            "blocked_us": 0.5,
            "place": "host",
            "pointer": "/a",
            "span_id": "1011121314151619",
            "parent_id": "1011121414151619",
        },
    }
    # Neighbours touch and never overlap: Perfetto would draw one inside of the other.
    leaves = [event for event in events if event.get("cat") in ("phase", "step") and event["pid"] == 100]
    assert all(one["ts"] + one["dur"] == other["ts"] for one, other in itertools.pairwise(leaves))


def test_otlp(tmp_path: Path) -> None:
    text = write(tmp_path / "trace.otlp.json", error="failed", step='note "a"')
    assert text.endswith("}\n")
    data = json_format.Parse(text, TracesData())  # refuses what is no field of it
    assert [resource.resource.attributes[0].value.string_value for resource in data.resource_spans] == ["ocirt"] * 2
    spans = json.loads(text)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert spans[3] == {
        "traceId": "000102030405060708090a0b0c0d0e0f",
        "spanId": "1011121314151619",
        "parentSpanId": "1011121414151619",
        "name": 'note "a"',
        "kind": 1,
        "startTimeUnixNano": "1700000000001000000",
        "endTimeUnixNano": "1700000000002000500",
        "attributes": [
            {"key": "ocirt.kind", "value": {"stringValue": "step"}},
            {"key": "ocirt.place", "value": {"stringValue": "host"}},
            {"key": "ocirt.pointer", "value": {"stringValue": "/a"}},
            {"key": "ocirt.cpu_ns", "value": {"intValue": "1000000"}},
            {"key": "ocirt.blocked_ns", "value": {"intValue": "500"}},
        ],
    }
    assert spans[0]["status"] == {"code": 2, "message": "failed"}


@pytest.mark.parametrize("name", ["trace.json", "trace.otlp.json"])
def test_commands_add_to_a_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write(path)
    once = chart.read(path.read_bytes(), name)
    text = write(path)
    assert json.loads(text) if name == "trace.json" else [json.loads(line) for line in text.splitlines()]
    twice = chart.read(path.read_bytes(), name)
    assert len(twice) == 4
    kept = rows(once)[1:6]  # the whole and the writing go on in the second
    assert rows(twice)[1:6] == rows(twice)[len(rows(once)) + 1 :][:5] == kept
    assert kept == rows(found())[1:6]


def test_the_writing_is_in_the_trace(tmp_path: Path) -> None:
    write(tmp_path / "trace.json")
    whole, *_, last = chart.read((tmp_path / "trace.json").read_bytes(), "")[0].spans
    assert last.name == "write the trace"
    assert last.end // 1000 == whole.end // 1000 != ENDS.time // 1000
    assert chart.read((tmp_path / "trace.json").read_bytes(), "")[0].named() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "content", "form"),
    [
        ("config.json", '{"ociVersion": "1.3.0"}', ""),
        ("trace.json", "[\n1", ""),
        ("chrome.json", "[\n1\n]\n", "otlp"),
        ("old.otlp.json", '{"resourceSpans":[]}', ""),  # without its end
    ],
)
def test_other_files_are_not_touched(tmp_path: Path, name: str, content: str, form: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(UsageError, match="to add to"):
        TraceFile(str(path), form)
    assert path.read_text() == content


def test_what_cannot_be_a_trace() -> None:
    with pytest.raises(UsageError, match="to add to"):
        TraceFile("/dev/null", "")
    with pytest.raises(UsageError, match="invalid trace-format: xml"):
        TraceFile("/tmp/x", "xml")
    with pytest.raises(UsageError, match="without --trace FILE"):
        TraceFile("", "otlp")


def test_the_form_follows_the_name(tmp_path: Path) -> None:
    assert TraceFile(str(tmp_path / "a.otlp.json"), "").form == "otlp"
    assert TraceFile(str(tmp_path / "a.json"), "").form == "chrome"
    assert TraceFile(str(tmp_path / "b.otlp.json"), "chrome").form == "chrome"


CHART = """\
    at ms      wall       cpu   blocked
ocirt create web1 (process 100): 10.000 ms, 5.000 of them on a CPU; 100.0% in named steps
  ! it failed
    0.000     1.000     0.900     0.100 start the interpreter   ████
    1.000     3.000     1.100     1.900 [sources]                   ████████████
    1.000     1.000     1.000     0.001   note "a"                  ████
    2.001     2.000     0.100     1.899   note "b"                      ████████
    4.000     5.000     0.500     4.500 wait for init to be re…                 ████████████████████
    9.000     1.000     2.500     0.000 write the trace                                             ████
init of ocirt create web1 (process 101): 4.000 ms; 100.0% in named steps
    5.500     3.500         -         - [mounts]                                      ██████████████
    5.500     1.500     0.100     1.400   note "a"                                    ██████
    7.000     2.000         -         -   note "b"                                          ████████
                                            ! it failed
                                        and 1 that took less
"""


def test_chart() -> None:
    assert chart.draw(found("it failed", 'note "b"'), 104, 600_000) == CHART


def test_a_narrow_terminal_gets_no_bars() -> None:
    assert max(map(len, chart.draw(found(), 80, 0).splitlines()[3:9])) <= 80
    assert "█" not in chart.draw(found(), 80, 0)


@pytest.mark.parametrize(
    ("begin", "end", "drawn"),
    [
        (0, 8, "█"),
        (0, 1, "▏"),
        (0, 4, "▌"),
        (4, 12, "▌▌"),
        (8, 8, " ▏"),
        (319, 320, " " * 39 + "▏"),
        (0, 320, "█" * 40),
    ],
)
def test_bars(begin: int, end: int, drawn: str) -> None:
    span = found()[0].spans[1]
    span.start, span.end = begin, end
    assert chart._bar(span, 0, 320, 40) == drawn


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'[{"ph":"X"}]',
        b'{"resourceSpans":[{}]}',
        b"[1]",
        b'[{"ph":"M"}]',
        b'[{"ph":"X","args":{},"ts":1e999}]',
    ],
)
def test_what_is_no_trace(data: bytes) -> None:
    with pytest.raises(OcirtError) as caught:
        chart.read(data, "x.json")
    assert (caught.value.code, caught.value.remedy) == ("json", "ocirt --trace FILE writes one")


@pytest.mark.parametrize(
    ("last", "end"), [("say READY, and wait for the record", 10), ("wait for start", 10), ("give birth to init", 9)]
)
def test_when_the_last_is_over(last: str, end: int) -> None:
    """What waits for the runtime waits still; anything else was over when the runtime went on."""
    tracer = recorded()
    assert tracer.memory is not None
    tracer.memory.note(FROM_INIT, T0 + 8_000_000, 500_000, last)
    _, init = processes(tracer, "ocirt", "", "", ENDS)
    assert init.spans[-1].end == T0 + end * 1_000_000


@pytest.mark.parametrize(("start", "end", "cpu"), [(-1, 5, 0), (5, 1, 0), (0, 2**63, 0), (0, 1, -1), (0, 1, 2**63)])
def test_times_that_are_none(start: int, end: int, cpu: int) -> None:
    process = found()[0]
    assert chart._is_sane(process)
    span = process.spans[3]
    span.start, span.end, span.cpu = start, end, cpu
    assert not chart._is_sane(process)


def test_a_clock_that_is_set_back() -> None:
    """No span ends before it begins."""
    tracer = recorded()
    tracer.was(T0, 3_000_000, "after the clock was set back")
    ours = processes(tracer, "ocirt", "", "", Mark(-1, T0 - 5, 3_000_000, Name("")))[0]
    assert chart._is_sane(ours)
    assert [span.wall for span in ours.spans[-2:]] == [0, 0]
