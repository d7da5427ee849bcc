"""From marks to spans: of each process the phases and stages one after the other, of each stage its steps."""

from __future__ import annotations

from ocirt.pipeline import INIT, JOINER
from ocirt.trace.recorder import (
    FROM_INIT,
    FROM_JOINER,
    NO_CPU,
    OTHER,
    PHASES,
    RUNTIME,
    Mark,
    Name,
    span_id,
    stage_id,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.trace.recorder import Context, Recorder

NOTHING = Name("")
WHOLE, PHASE, STAGE, STEP = "process", "phase", "stage", "step"
WAITING = PHASES[2:4]  # what init does as long as nobody lets it go on


class Span:
    """kind: one of the constants above.  start, end: nanoseconds, of the epoch.  cpu: nanoseconds of it on a CPU, None
    where that was not measured.  place: of the plan, "" for phases.  at: JSON pointer.  error: why it failed, "".
    id, parent: 16 hex digits; a parent of "" is none.
    """

    __slots__ = ("at", "cpu", "end", "error", "id", "kind", "name", "parent", "place", "start")

    def __init__(
        self,
        kind: str,
        name: str,
        start: int,
        end: int,
        cpu: int | None,
        *,
        place: str = "",
        at: str = "",
        id: str = "",
        parent: str = "",
        error: str = "",
    ) -> None:
        self.kind = kind
        self.name = name
        self.start = start
        self.end = max(start, end)  # the clock may be set back
        self.cpu = cpu
        self.place = place
        self.at = at
        self.id = id
        self.parent = parent
        self.error = error

    @property
    def wall(self) -> int:
        return self.end - self.start

    @property
    def blocked(self) -> int | None:
        """Nanoseconds in which it slept, or waited for a CPU."""
        return None if self.cpu is None else max(0, self.wall - self.cpu)


class Process:
    """One line of time.  spans: the whole, then each phase, or stage followed by its steps, in order."""

    __slots__ = ("name", "pid", "spans", "trace_id")

    def __init__(self, name: str, pid: int, trace_id: str, spans: list[Span]) -> None:
        self.name = name
        self.pid = pid
        self.trace_id = trace_id
        self.spans = spans

    def named(self) -> float:
        """Which part of the whole's time phases and steps cover; 1.0 is all of it."""
        covered = sum(span.wall for span in self.spans if span.kind in (PHASE, STEP))
        return covered / self.spans[0].wall if self.spans[0].wall else 1.0


def processes(recorder: Recorder, command: str, error: str, step: str, ends: Mark) -> list[Process]:
    """The runtime up to the mark that ends it, then the joiner and init as far as they have noted anything.

    error: why the command failed, ""; step: which step did.
    """
    ours = [Mark(number, when, cpu, _name(what)) for number, (when, cpu, what) in enumerate(recorder.marks)]
    context, memory = recorder.context, recorder.memory
    whole = Process(command, recorder.pids[RUNTIME], context.trace_id, _spans(context, RUNTIME, command, ours, ends))
    root = whole.spans[0]
    root.parent, root.error = context.parent, error
    found = [whole]
    for who, place in ((FROM_JOINER, JOINER), (FROM_INIT, INIT)):
        if memory is None:
            break
        # What there is from before belongs to `create`: here init begins with its first act after `start`.
        theirs = [mark for mark in _sane(memory.marks(who), ends.time) if mark.time >= root.start]
        if theirs:
            name = f"{place} of {command}"
            spans = _spans(memory.context, who, name, theirs, _end_of(theirs[-1], ours, ends))
            spans[0].parent = root.id if memory.context.trace_id == context.trace_id else ""
            found.append(Process(name, recorder.pids[who], memory.context.trace_id, spans))
    _blame(found, step)
    return found


def _blame(found: list[Process], step: str) -> None:
    """The last span of the step that failed says so."""
    for process in reversed(found):
        for span in reversed(process.spans):
            if step and span.kind == STEP and span.name == step:
                span.error = found[0].spans[0].error
                return


def _name(what: object) -> Name:
    if isinstance(what, tuple):
        stage, step = what
        return Name(step.describe(), stage.name, stage.place, step.at)
    return Name(str(what))


def _sane(marks: list[Mark], last: int) -> list[Mark]:
    """Those of another process whose times can be true; each is after the one before."""
    found: list[Mark] = []
    for mark in marks:
        if (found[-1].time if found else 0) <= mark.time <= last and mark.name.what != OTHER:
            found.append(mark)
    return found


def _end_of(last: Mark, ours: list[Mark], ends: Mark) -> Mark:
    """When the last that another process noted was over: it waits still, or the runtime went on when it had ended."""
    when = ends.time
    if last.name.what not in WAITING:
        when = next((mark.time for mark in ours if mark.time > last.time), ends.time)
    return Mark(-1, when, NO_CPU, NOTHING)


def _spans(context: Context, who: int, name: str, marks: list[Mark], ends: Mark) -> list[Span]:
    """In the order of Process.spans."""
    root = span_id(context.base, who, -1)
    whole = Span(WHOLE, name, marks[0].time, ends.time, _between(marks[0], ends), id=root)
    spans, stage = [whole], whole
    for mark, following in zip(marks, [*marks[1:], ends], strict=True):
        what, cpu = mark.name, _between(mark, following)
        own = span_id(context.base, who, mark.number)
        if not what.stage:
            stage = whole
            spans.append(Span(PHASE, what.what, mark.time, following.time, cpu, id=own, parent=root))
            continue
        if stage is whole or (stage.name, stage.place) != (what.stage, what.place):
            group = stage_id(context.base, who, mark.number)
            stage = Span(STAGE, what.stage, mark.time, mark.time, 0, place=what.place, id=group, parent=root)
            spans.append(stage)
        stage.end = max(stage.end, following.time)
        stage.cpu = None if cpu is None or stage.cpu is None else stage.cpu + cpu
        step = Span(STEP, what.what, mark.time, following.time, cpu, place=what.place, at=what.at, id=own)
        step.parent = stage.id
        spans.append(step)
    return spans


def _between(first: Mark, second: Mark) -> int | None:
    """CPU time, None where it was not measured."""
    known = NO_CPU not in (first.cpu, second.cpu) and second.cpu >= first.cpu
    return second.cpu - first.cpu if known else None
