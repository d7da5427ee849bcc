"""The runtime's side of bringing a process to life: host steps, clone, the conversation, the record.

`create` and `exec` differ only in their Plan and in what is done when init is READY.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the public module imports enum: 4 ms
import errno
import gc
import select

from ocirt import log
from ocirt import system as os
from ocirt.box import START_SOCKET
from ocirt.cgroups import killed_for_memory
from ocirt.channel import ASK, DONE, EOF, ERROR, EXECUTES, GO, LOG, PID, READY, SAVED, Record, channel_pair
from ocirt.container import never_executed
from ocirt.errors import OcirtError, system_error
from ocirt.kernel.processes import reap
from ocirt.pipeline import ANSWER, BESIDE, ENDING_SIGNALS, HOST, INIT, JOINER, Undo, interrupted, run
from ocirt.process import birth, init, joiner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocirt.box import Box
    from ocirt.channel import Channel
    from ocirt.pipeline import Plan, Stage

SIGKILL = 9
REAP_DEADLINE = 10.0  # seconds for a killed child to end: a frozen one does not
JOINER_DEADLINE = 30.0  # seconds for the joiner to enter the namespaces
# Seconds between two records of init's, hooks not counted: what engines give the whole of `create`.  A mount from a
# server that is gone never comes back.
INIT_DEADLINE = 120.0
# Of these nothing more is to be found; where memory or descriptors are scarce, what is left is for the undo.
NO_CAUSE = ("interrupted", "timeout", "internal")
SCARCE = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)
STUCK = "ocirt --debug shows the step; a file system whose server is gone, or a frozen cgroup, holds a process for ever"


class Notes:
    """What a command notes of the process that it brings to life.  exec notes nothing."""

    def made(self) -> None:
        """The host steps are done.  What can be prepared now is: once init is born, both copy each page of memory that
        they write to, and all that they do costs three times as much."""

    def born(self) -> None:
        """init waits for GO."""

    def ready(self) -> None:
        """init has said READY, and waits."""

    def end(self) -> None:
        """All else is done: what may fail still."""


def launch(plan: Plan, box: Box, notes: Notes | None = None, *, hold: bool = False) -> None:
    """Run the plan up to READY and let init go.

    hold: init waits on, for GO from whoever goes on with box.channel.
    Raises OcirtError; then init is dead and every host step is undone.
    """
    # Held back until init is born: between an act and the note of what it made nothing may come.
    _signal.pthread_sigmask(_signal.SIG_BLOCK, ENDING_SIGNALS)
    for signal in ENDING_SIGNALS:
        _signal.signal(signal, interrupted)
    if log.tracer is not None:
        log.tracer.share(plan)
    notes = notes or Notes()
    with Undo() as undo:
        try:
            bring_up(plan, box, undo, notes)
            if not hold:
                let_go(plan, box)
        except (OSError, OcirtError) as error:
            record = explained(error, plan, box)
            raise record from (error if record is not error else error.__cause__)
        notes.end()
        undo.keep()
    if box.network is not None:
        box.network.close()  # `run` stays, and would keep the container's namespace alive


def bring_up(plan: Plan, box: Box, undo: Undo, notes: Notes) -> None:
    """From the host steps to READY.  Raises OSError and OcirtError."""
    network = birth.NetworkAhead(box, plan)
    undo.push(network.close)
    run(plan.part(HOST), box, undo)
    log.phase("prepare the notes")
    notes.made()
    bound = patience(plan.part(INIT))
    box.channel, theirs = channel_pair()
    undo.push(lambda: end_child(box))
    spawn(plan, box, theirs, network)
    network.close()  # `run` stays, and would keep the namespace alive
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, ENDING_SIGNALS)
    if START_SOCKET in box.fds:
        # init's alone: `run` would else wait in its own copy's queue for an init that died.
        os.close(box.fds.pop(START_SOCKET))
    if log.tracer is not None:
        log.tracer.born(INIT, box.pid)
    log.phase("note what was made")
    notes.born()  # while init is on its way
    run(plan.part(BESIDE), box, undo)
    log.phase("wait for init to be ready")
    _send(box, GO)
    box.channel.bound = bound
    serve(plan, box)
    log.phase("note that it is ready")
    notes.ready()


def let_go(plan: Plan, box: Box) -> None:
    """From READY on; up to execve where init does not wait for `start`.  Raises OSError and OcirtError."""
    _send(box, GO if plan.executes_at_once else SAVED)
    if plan.executes_at_once:
        log.phase("wait for the program to be executed")
        wait_for_exec(plan, box)
        log.phase("hand over what the caller asked for")


def explained(error: OSError | OcirtError, plan: Plan, box: Box) -> OcirtError:
    """The error as a record, with its cause where that can be found, while what failed is still there."""
    record = error if isinstance(error, OcirtError) else system_error(error)
    if record.code in NO_CAUSE or record.errno in SCARCE:
        return record
    from ocirt.process.lifecycle import find_cause  # which everything that launches has loaded

    def look() -> None:
        from ocirt import diagnosis

        diagnosis.explain(record, plan, box)

    find_cause(record, look)
    return record


def spawn(plan: Plan, box: Box, theirs: Channel, network: birth.NetworkAhead) -> None:
    """Give birth to init, directly or through the joiner; sets box.pid.

    The collector is frozen so that the child does not copy pages only to look at them (copy on write).
    """
    made = network.made()
    log.phase("give birth to init")
    gc.freeze()
    gc.disable()
    ours = box.channel
    if not plan.via_joiner:
        box.pid, outside = birth.clone(box, plan.clone_flags & ~made)
        if box.pid == 0:
            init.main(plan, box, ours, theirs, network)
        theirs.close()
        if outside:
            birth.move_in(box)
        return
    child, _ = box.kernel.clone3(0)
    if child == 0:
        joiner.main(plan.part(JOINER), plan, box, ours, theirs)
    if log.tracer is not None:
        log.tracer.born(JOINER, child)
    theirs.close()
    record = hear_joiner(box.channel, child)
    status = reap(child, REAP_DEADLINE)
    if record.kind == ERROR:
        raise OcirtError.from_record(record.fields)
    if record.kind != PID:  # an init that it made nevertheless ends with the conversation
        raise OcirtError("init-died", f"the joiner died before it told init's pid ({describe_status(status)})")
    box.pid = int(record.fields[0])
    if record.fields[1] == birth.OUTSIDE:
        birth.move_in(box)


def hear_joiner(channel: Channel, joiner: int) -> Record:
    """What the joiner says of init; EOF when it died, although an init that it made may hold its end of the channel."""
    pidfd = os.pidfd_open(joiner)
    poll = select.poll()
    poll.register(channel.fileno(), select.POLLIN)
    poll.register(pidfd, select.POLLIN)
    try:
        while True:
            ready = dict(poll.poll(JOINER_DEADLINE * 1000))
            if not ready:
                os.kill(joiner, SIGKILL)
                raise OcirtError("timeout", f"waited {JOINER_DEADLINE:.0f} s for the joiner to enter the namespaces")
            if channel.fileno() not in ready:
                return Record(EOF, [])
            record = channel.receive()
            if record.kind != LOG:
                return record
            log.pass_on(*record.fields)
    finally:
        os.close(pidfd)


def patience(stages: Iterable[Stage]) -> tuple[float, OcirtError] | None:
    """The bound of the conversation with init while it is in these stages; None with a hook that has no timeout."""
    seconds = INIT_DEADLINE
    for stage in stages:
        for step in stage.steps:
            if step.seconds is None:
                return None
            seconds += step.seconds
    return seconds, OcirtError("timeout", f"waited {seconds:.0f} s for init to set the container up", remedy=STUCK)


def serve(plan: Plan, box: Box) -> None:
    """Answer init's requests until READY.  Raises what init reports, or how it died."""
    while True:
        record = box.channel.receive_past_log()
        if record.kind == READY:
            return
        if record.kind == ASK:
            answer(plan, box, record)
        else:
            raise _failure(box, record)


def answer(plan: Plan, box: Box, record: Record) -> None:
    """Do what init asks for.  What it adds to the question is a fact of the question's name."""
    question, *more = record.fields
    stages = plan.answer(question)
    if not stages:  # before a fact of that name is overwritten
        raise OcirtError("internal", f"init asked for {question!r}, to which the plan has no answer")
    box.facts[question] = "".join(more)
    run(stages, box)
    log.phase("wait for init, which has its answer")
    _send(box, DONE)


def wait_for_exec(plan: Plan, box: Box) -> None:
    """init's end of the channel is close-on-exec: the end of the conversation means that it executes, when it
    has said that it will, has asked for all that the plan has answers to, and did not die on the way."""
    announced = False
    while (record := box.channel.receive_past_log()).kind in (EXECUTES, ASK):
        if record.kind == EXECUTES:
            announced = True
        else:
            answer(plan, box, record)
    unasked = any(stage.name not in box.facts for stage in plan.part(ANSWER))
    if record.kind != EOF or not announced or unasked or never_executed(box.pid):
        raise _failure(box, record)


def _send(box: Box, kind: str) -> None:
    """Send; a peer that is gone has left its reason, or its wait status, behind."""
    try:
        box.channel.send(kind)
    except (BrokenPipeError, ConnectionResetError):
        raise _failure(box, box.channel.receive_past_log()) from None


def _failure(box: Box, record: Record) -> OcirtError:
    if record.kind == ERROR:
        return OcirtError.from_record(record.fields)
    if record.kind != EOF:
        return OcirtError("internal", f"init sent {record.kind} out of turn")
    status = reap(box.pid, REAP_DEADLINE)
    box.pid = 0
    what = f"container init died before it was ready ({describe_status(status)})"
    if status is None or not os.WIFSIGNALED(status) or os.WTERMSIG(status) != SIGKILL:
        return OcirtError("init-died", what)
    return killed_for_memory(box.manager) or OcirtError(
        "init-died", what, remedy="if its memory limit is small, raise linux.resources.memory.limit"
    )


def end_child(box: Box) -> None:
    """Undo of the clone: kill init and reap it, and what init leaves in the container's cgroup."""
    box.channel.close()
    kill_child(box)
    if box.manager is not None and box.manager.pids():  # a hook's, in a pid namespace that is not the container's own
        box.manager.kill(SIGKILL)


def kill_child(box: Box) -> None:
    """Kill the process and reap it; nothing when that is done already."""
    if box.pid > 0:
        try:
            os.kill(box.pid, SIGKILL)
        except ProcessLookupError:
            pass
        if box.manager is not None and box.manager.frozen():
            box.manager.freeze(False)
        reap(box.pid, REAP_DEADLINE)
        box.pid = 0


def describe_status(status: int | None) -> str:
    """A wait status in words."""
    if status is None:
        return "its status is not known"
    if os.WIFSIGNALED(status):
        return f"killed by signal {os.WTERMSIG(status)}"
    return f"exit status {os.waitstatus_to_exitcode(status)}"
