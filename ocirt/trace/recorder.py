"""The notes of a traced command: marks, each of which ends what came before it.

A mark is three numbers and what begins: the time in nanoseconds since the epoch, the CPU time that the process has used
by then in nanoseconds, and a phase (ocirt.log.phase) or a step.  The runtime keeps its marks in a list.  init and the
joiner write theirs into memory that they share with it, as numbers alone: they may import nothing, should ask the
kernel for nothing, and what comes from them may one day be hostile.  For a container that memory is a file in its
directory, where `start --trace` finds what init does then.

The clock is CLOCK_REALTIME: the only one that time namespaces leave alone.
"""

from __future__ import annotations

import time
from _struct import Struct  # built in; the public module is a file

from ocirt import system as os
from ocirt.config import jsontext
from ocirt.errors import ConfigError
from ocirt.kernel.sharing import map_shared
from ocirt.pipeline import INIT, JOINER, START

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.pipeline import Plan, Stage, Step

FILE = "trace"  # in the container's directory
NAMES = "names of a trace"
NO_CPU = 2**64 - 1  # as a mark's CPU time: not measured
RUNTIME, FROM_JOINER, FROM_INIT = range(3)  # whose marks
SHARED = {JOINER: FROM_JOINER, INIT: FROM_INIT}
# What log.phase() is told in init and joiner.
PHASES = (
    "be born",
    "wait for GO",
    "say READY, and wait for the record",
    "wait for start",
    "give birth to init",
)
OTHER = "something without a name"

_COUNT, _MARK, _SIZE = Struct("=Q"), Struct("=QQQ"), Struct("=QQ")
_MAX_MARKS = 10_000  # a config with more steps is traced up to there
_BLOCK = 2**40  # of span ids, for each process
_LARGEST_BASE = 2**63 - 1
_GROUP = 2**32  # of them, from which stages are numbered
# Clock sources that are read without a system call (vdso(7)), which a seccomp filter could refuse.
_READ_IN_USER_SPACE = ("tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "riscv_clocksource")
_CLOCK_SOURCE = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
_TICK = 10_000_000  # nanoseconds of USER_HZ, in which proc_pid_stat(5) counts


class Name:
    """What a mark begins.  stage: "" for a phase; what: the phase, or what the step does; at: JSON pointer."""

    __slots__ = ("at", "place", "stage", "what")

    def __init__(self, what: str, stage: str = "", place: str = "", at: str = "") -> None:
        self.what = what
        self.stage = stage
        self.place = place
        self.at = at


class Mark:
    """number: its place among those of its process.  time: nanoseconds, of the epoch.  cpu: nanoseconds, or NO_CPU."""

    __slots__ = ("cpu", "name", "number", "time")

    def __init__(self, number: int, when: int, cpu: int, name: Name) -> None:
        self.number = number
        self.time = when
        self.cpu = cpu
        self.name = name


class Recorder:
    """ocirt.log.tracer.

    context: of TRACEPARENT, see Context.
    pids: of those whose marks there are, in the runtime's pid namespace.  directory: descriptor of the container's
    directory, where init's marks are kept; -1 for a process that has none.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.pids = {RUNTIME: os.getpid(), FROM_JOINER: 0, FROM_INIT: 0}
        self.directory = -1
        self.marks: list[tuple[int, int, str | tuple[Stage, Step]]] = []
        self.memory: Memory | None = None
        self._who = RUNTIME
        self._cpu = True
        self._silent = False

    def was(self, when: int, cpu: int, what: str) -> None:
        """A phase that began before there was a recorder."""
        self.marks.append((when, cpu, what))

    # -- notes -----------------------------------------------------------------------------------

    def phase(self, what: str) -> None:
        """From now on the process does this."""
        if self._who == RUNTIME:
            self.marks.append((now(), cpu_time(), what))
        else:
            self._note(what)

    def step(self, stage: Stage, step: Step) -> None:
        """From now on it applies this step."""
        if self._who == RUNTIME:
            self.marks.append((now(), cpu_time(), (stage, step)))
            return
        self._note(id(step))
        if step.confines:  # what follows may not ask the kernel for the CPU time, nor, here and there, for the time
            self._cpu = False
            self._silent = not reads_clock_in_user_space()

    def _note(self, key: str | int) -> None:
        if not self._silent and self.memory is not None:
            self.memory.note(self._who, now(), cpu_time() if self._cpu else NO_CPU, key)

    # -- other processes -------------------------------------------------------------------------

    def share(self, plan: Plan) -> None:
        """Before the clone: memory for what the joiner and init will note.  Raises OSError."""
        self.memory = Memory.make(plan, self.directory, self.context)
        reads_clock_in_user_space()  # looked up while there is a /sys

    def born(self, place: str, pid: int) -> None:
        """In the runtime: who it is that notes in memory."""
        self.pids[SHARED[place]] = pid

    def become(self, place: str) -> None:
        """After the clone, in JOINER or INIT: this process notes in memory from now on."""
        self._who = SHARED[place]
        self.phase(PHASES[0])

    def adopt(self, directory: int, pid: int) -> None:
        """Before `start`: what init, of this pid, writes to if it was created with --trace.  Raises OSError."""
        self.born(INIT, pid)
        if self.memory is None:  # `run` has made it
            self.memory = Memory.open(directory)

    # -- trace context ---------------------------------------------------------------------------

    def environment(self, given: dict[str, str]) -> dict[str, str]:
        """A hook's environment, and the trace context unless it says one itself.  The parent is the hook's step."""
        number = len(self.marks) - 1
        if self._who != RUNTIME and self.memory is not None:
            number = self.memory.count(self._who) - 1
        return {**self.context.environment(span_id(self.context.base, self._who, number)), **given}


class Memory:
    """What several processes write: names, then of each process the number of its marks, and the marks.

    start: where that begins.  context: of the command that made it.  names: what marks refer to by number.
    index: of a step's id() or a phase, its number.
    """

    def __init__(
        self, memory: memoryview, start: int, context: Context, names: list[Name], index: dict[str | int, int]
    ) -> None:
        self._memory = memory
        self._start = start
        self._most = min(len(names) + len(PHASES), _MAX_MARKS)
        self.context = context
        self.names = names
        self._index = index

    @classmethod
    def make(cls, plan: Plan, directory: int, context: Context) -> Memory:
        """directory: as Recorder has it.  Raises OSError."""
        names = [Name(OTHER), *map(Name, PHASES)]
        keys: dict[str | int, int] = {phase: number for number, phase in enumerate(PHASES, 1)}
        for stage in plan.stages:
            if stage.place in (JOINER, INIT, START):
                for step in stage.steps:
                    keys[id(step)] = len(names)
                    names.append(Name(step.describe(), stage.name, stage.place, step.at))
        texts = [[name.what, name.stage, name.place, name.at] for name in names]
        text = jsontext.dump([context.trace_id, f"{context.base:016x}", texts]).encode()
        start = _SIZE.size + len(text)
        size = start + len(SHARED) * _area(len(names))
        if directory < 0:
            memory = map_shared(-1, size, True)
        else:
            fd = os.open(FILE, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600, dir_fd=directory)
            try:
                os.posix_fallocate(fd, 0, size)  # a page that the disk has no room for would end who writes to it
                memory = map_shared(fd, size, True)
            finally:
                os.close(fd)
        _SIZE.pack_into(memory, 0, len(text), len(names))
        memory[_SIZE.size : start] = text
        return cls(memory, start, context, names, keys)

    @classmethod
    def open(cls, directory: int) -> Memory | None:
        """For reading; None where there is none, or it is not what make() wrote.  Raises OSError."""
        try:
            fd = os.open(FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory)
        except FileNotFoundError:
            return None
        try:
            size = os.fstat(fd).st_size
            if size < _SIZE.size:
                return None
            memory = map_shared(fd, size, False)
            length, count = _SIZE.unpack_from(memory)
            start = _SIZE.size + length
            if count > size or start + len(SHARED) * _area(count) != size:
                return None
            trace_id, base, texts = _header(jsontext.parse(bytes(memory[_SIZE.size : start]), NAMES))
            context = Context("", "", bytes.fromhex(trace_id) + bytes.fromhex(base))
        except (ConfigError, ValueError):
            return None
        finally:
            os.close(fd)
        return cls(memory, start, context, [Name(*text) for text in texts], {}) if len(texts) == count else None

    def note(self, who: int, when: int, cpu: int, key: str | int) -> None:
        area, count = self._area(who), self.count(who)
        if count < self._most:
            _MARK.pack_into(self._memory, area + _COUNT.size + count * _MARK.size, when, cpu, self._index.get(key, 0))
            _COUNT.pack_into(self._memory, area, count + 1)

    def count(self, who: int) -> int:
        count: int = _COUNT.unpack_from(self._memory, self._area(who))[0]
        return min(count, self._most)

    def marks(self, who: int) -> list[Mark]:
        """In order; of a number that stands for nothing the name is OTHER."""
        found = []
        for number in range(self.count(who)):
            when, cpu, name = _MARK.unpack_from(self._memory, self._area(who) + _COUNT.size + number * _MARK.size)
            found.append(Mark(number, when, cpu, self.names[name if name < len(self.names) else 0]))
        return found

    def _area(self, who: int) -> int:
        return self._start + (who - FROM_JOINER) * _area(len(self.names))


def _header(value: object) -> tuple[str, str, list[list[str]]]:
    """What make() wrote.  Raises ValueError for anything else."""
    trace_id, base, texts = value if isinstance(value, list) and len(value) == 3 else ("", "", None)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in (trace_id, base)):
        raise ValueError("no header")
    for text in texts:
        if not isinstance(text, list) or len(text) != 4 or not all(isinstance(word, str) for word in text):
            raise ValueError("no name")
    return trace_id, base, texts


def _area(names: int) -> int:
    """Bytes for the marks of one process."""
    return _COUNT.size + min(names + len(PHASES), _MAX_MARKS) * _MARK.size


class Context:
    """Whose trace this is (W3C Trace Context): the caller's by TRACEPARENT, or one of its own.

    trace_id: 32 hex digits.  parent: 16, "" without a caller's.  flags: 2.  state: TRACESTATE, handed on as it is.
    base: what the ids of this command's spans are counted from.
    """

    def __init__(self, parent: str, state: str, random: bytes) -> None:
        found = parse_parent(parent)
        self.trace_id, self.parent, self.flags = found or (random[:16].hex(), "", "01")
        self.state = state if found else ""
        self.base = int.from_bytes(random[16:24], "big") & _LARGEST_BASE | 1  # no id is 0, and none has 17 digits

    def environment(self, span: str) -> dict[str, str]:
        state = {"TRACESTATE": self.state} if self.state else {}
        return {"TRACEPARENT": f"00-{self.trace_id}-{span}-{self.flags}", **state}


def parse_parent(text: str) -> tuple[str, str, str] | None:
    """Trace id, parent id and flags of a TRACEPARENT; None for what is none (Trace Context, traceparent Header)."""
    parts = text.split("-")
    if len(parts) < 4 or (parts[0] == "00" and len(parts) != 4) or parts[0] == "ff":
        return None
    digits = "0123456789abcdef"
    for part, length in zip(parts, (2, 32, 16, 2), strict=False):
        if len(part) != length or part.strip(digits):
            return None
    _, trace_id, parent, flags = parts[:4]
    return (trace_id, parent, flags) if trace_id.strip("0") and parent.strip("0") else None


def span_id(base: int, who: int, number: int) -> str:
    """number: of the mark that begins the span; -1 for the process's whole."""
    return f"{base + who * _BLOCK + number + 1:016x}"


def stage_id(base: int, who: int, number: int) -> str:
    """number: of the first mark of the stage."""
    return span_id(base, who, number + _GROUP)


def now() -> int:
    return time.clock_gettime_ns(time.CLOCK_REALTIME)


def cpu_time() -> int:
    return time.clock_gettime_ns(time.CLOCK_PROCESS_CPUTIME_ID)


def process_began(awake: int) -> int:
    """When this process was started.  awake: when it would have been had it never slept, which is hardly ever wrong;
    where it is, the start time of proc_pid_stat(5) says so, which is rounded down to ticks.
    """
    fields = os.read_whole("/proc/self/stat").rpartition(b")")[2].split()
    age = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - int(fields[19]) * _TICK
    return min(awake, now() - age + _TICK)


_user_space: bool | None = None


def reads_clock_in_user_space() -> bool:
    """Whether the time is read without a system call; asked once."""
    global _user_space
    if _user_space is None:
        try:
            _user_space = os.read_text(_CLOCK_SOURCE).strip() in _READ_IN_USER_SPACE
        except OSError:
            _user_space = False
    return _user_space
