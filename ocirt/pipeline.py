"""Stage and Step, and the one loop that runs them.

A Step is one act: a small value that can say what it does (describe), do it (apply) and, when it
changes the host, take it back (undo).  A Stage is a name, a place and a tuple of steps.  All data
of a step is computed before the clone; apply() only calls the kernel.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the public module imports enum: 4 ms

from ocirt import log
from ocirt.errors import KernelError, OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ocirt.box import Box

# Places, in the order in which they run.
HOST = "host"  # the runtime, before the clone
BESIDE = "beside"  # the runtime, while init waits for GO
JOINER = "joiner"  # the process that enters existing namespaces
ANSWER = "answer"  # the runtime, while init waits for what it asked for; the stage's name is the question
INIT = "init"  # the container's first process, up to READY
CRIU = "criu"  # the runtime, while CRIU waits in a restore; the stage's name is what CRIU notifies of
START = "start"  # the same process, after `start`

ENDING_SIGNALS = (1, 2, 3, 15)  # SIGHUP SIGINT SIGQUIT SIGTERM
# Not passed on to a process in the foreground.  SIGKILL and SIGSTOP cannot be caught; 32 and 33 are the C library's
# own; the rest are our own faults, or what our own reading and writing bring (SIGPIPE, SIGTTIN, SIGTTOU: in the
# background we stop, as everybody does).
NOT_FORWARDED = (9, 19, 32, 33, 4, 5, 7, 8, 11, 13, 21, 22)
FORWARDED = tuple(signal for signal in range(1, _signal.NSIG) if signal not in NOT_FORWARDED)
# What ends us by default and is not for us: held back until foreground.stay() passes it on.
HELD_SIGNALS = tuple(signal for signal in FORWARDED if signal not in ENDING_SIGNALS)


def interrupted(signal: int, frame: object) -> None:
    """Handler of ENDING_SIGNALS: the command ends with its undo.  init inherits it: a signal ends it too while it
    waits for `start`, although the kernel spares the first process of a pid namespace from a default action."""
    raise OcirtError("interrupted", f"interrupted by signal {signal}")


class Step:
    """One act.  `at` is the JSON pointer of the setting it comes from, "" when the runtime itself wants it.

    seconds: what it may take beyond the usual, None for as long as it wants: a hook's timeout.
    confines: a system call may be refused, or be the last, from then on.
    """

    __slots__ = ("at",)
    at: str
    seconds: float | None = 0.0
    confines = False

    def describe(self) -> str:
        """What apply() does, as an order: 'mount proc on /proc (nosuid)'."""
        raise NotImplementedError

    def apply(self, box: Box) -> None:
        """Do it.  Raises OSError (KernelError) or OcirtError; the runner adds stage and step."""
        raise NotImplementedError

    def undo(self, box: Box) -> None:
        """Take back what apply() left on the host.  What init did dies with its namespaces."""


class Stage:
    """A name, a place and its steps.  Never subclassed."""

    __slots__ = ("name", "place", "steps")

    def __init__(self, name: str, place: str, *plans: Iterable[Step]) -> None:
        self.name = name
        self.place = place
        steps: list[Step] = []
        for plan in plans:
            steps += plan
        self.steps = tuple(steps)


class Plan:
    """The ordered list of stages; nothing has happened yet when it is made.

    stages: in order.  clone_flags: init's new namespaces.  via_joiner: init is born by a joiner (process/joiner.py).
    executes_at_once: init does not wait for `start` (exec, run, restore).
    network_ahead: init may enter its new network namespace after its birth (process/birth.py).
    """

    __slots__ = ("stages", "clone_flags", "via_joiner", "executes_at_once", "network_ahead")

    def __init__(
        self,
        *stages: Stage,
        clone_flags: int,
        via_joiner: bool = False,
        executes_at_once: bool = False,
        network_ahead: bool = False,
    ) -> None:
        self.stages = tuple([stage for stage in stages if stage.steps])
        self.clone_flags = clone_flags
        self.via_joiner = via_joiner
        self.executes_at_once = executes_at_once
        self.network_ahead = network_ahead

    def part(self, place: str) -> tuple[Stage, ...]:
        return tuple([stage for stage in self.stages if stage.place == place])

    def answer(self, question: str) -> tuple[Stage, ...]:
        """What the runtime does when init asks."""
        return tuple(stage for stage in self.stages if stage.place == ANSWER and stage.name == question)

    def describe(self) -> str:
        """One line per step: place, stage, what is done, JSON pointer."""
        lines = [
            f"{stage.place:6} {stage.name:10} {step.describe()}" + (f"  [{step.at}]" if step.at else "")
            for stage in self.stages
            for step in stage.steps
        ]
        return "\n".join(lines) + "\n"


class Undo:
    """Runs what was pushed backwards when its `with` block fails; keeps going when an undo fails.

    Meanwhile the signals that end a command wait: a second Ctrl-C must not leave half a container.
    """

    def __init__(self) -> None:
        self._actions: list[Callable[[], None]] = []

    def push(self, action: Callable[[], None]) -> None:
        self._actions.append(action)

    def keep(self) -> None:
        """All went well: nothing is taken back."""
        self._actions = []

    def finish(self) -> None:
        """keep(), of a command: what it was to make is there, and interrupted from now on it would say that it is not.
        Ending signals wait for who goes on."""
        _signal.pthread_sigmask(_signal.SIG_BLOCK, ENDING_SIGNALS)
        self.keep()

    def replace(self, action: Callable[[], None]) -> None:
        """All went well so far, and this takes all of it back."""
        self._actions = [action]

    def __enter__(self) -> Undo:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not self._actions:
            return
        log.phase("take back what was done")
        mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, ENDING_SIGNALS)
        try:
            while self._actions:
                action = self._actions.pop()
                try:
                    action()
                except (OSError, OcirtError, MemoryError) as failure:
                    log.warning(f"clean-up failed too: {failure}")
        finally:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)


def with_context(error: OSError | OcirtError, stage: str, step: Step) -> OcirtError:
    """The error as a record that knows its stage and step; what the error already says is kept."""
    if isinstance(error, OcirtError):
        error.stage = error.stage or stage
        error.step = error.step or step.describe()
        error.at = error.at or step.at
        return error
    call, detail = "", ""
    if isinstance(error, KernelError):
        call, detail = error.call, error.detail
    elif error.filename is not None:
        detail = str(error.filename)
    return OcirtError(
        "step-failed",
        step.describe(),
        stage=stage,
        step=step.describe(),
        at=step.at,
        call=call,
        errno=error.errno or 0,
        detail=detail,
    )


def run(stages: Iterable[Stage], box: Box, undo: Undo | None = None) -> None:
    """Apply every step of the stages in order.  Raises OcirtError naming stage and step.

    With undo, a step's undo is pushed before it is applied: a step that fails half-way is taken
    back too, so undo() must bear that nothing was done yet.
    """
    for stage in stages:
        for step in stage.steps:
            if log.debugging:
                log.debug(f"{stage.name}: {step.describe()}")
            if log.tracer is not None:
                log.tracer.step(stage, step)
            if undo is not None:
                undo.push(lambda step=step: step.undo(box))  # type: ignore[misc]
            try:
                step.apply(box)
            except (OSError, OcirtError) as error:
                raise with_context(error, stage.name, step) from error
