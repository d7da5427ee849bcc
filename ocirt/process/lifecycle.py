"""create, start and destroy: the operations of runtime.md on a Container."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the public module imports enum: 4 ms
import _socket
import select
from _struct import Struct  # built in; the public module is a file

from ocirt import log
from ocirt import system as os
from ocirt.box import START_SOCKET, Box
from ocirt.cgroups import killed_for_memory
from ocirt.channel import ASK, DONE, EOF, ERROR, EXECUTES, GO, LOG, Record
from ocirt.container import LOCK_DEADLINE, Container, never_executed
from ocirt.errors import OcirtError, StateError
from ocirt.pipeline import ENDING_SIGNALS, FORWARDED, Undo, interrupted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ocirt.channel import Channel
    from ocirt.config.views import Config, Hook
    from ocirt.pipeline import Plan

SIGKILL = 9
STANDARD, SETNS = "standard", "setns"  # a container's init, a process of exec: what runc sends with a pidfd
LOOK_FOR_SIGNALS = 50  # milliseconds between looks, while init runs its hooks
START_DEADLINE = 30.0  # seconds for init to execute the program, hooks not counted
SOCKET_DEADLINE = 10  # seconds for the other side of a console or pidfd socket to take what it asked for
KILL_DEADLINE = 10.0  # seconds for a killed init to end, as runc allows


CREATED_PAUSED = "created, paused"  # the status of neither runtime.md nor `state`

_TIMEVAL = Struct("@ll")

_kept: list[object] = []  # never taken apart: of a plan's hundreds of objects that takes 0.2 ms, and _exit is near


class Wishes:
    """What create and exec do besides the plan.

    pid_file: absolute path or "".  pidfd_socket: path or "".  console: fd of the connected console socket, or -1.
    notify: make what sd_notify(3) in the container needs.
    """

    __slots__ = ("pid_file", "pidfd_socket", "console", "notify")

    def __init__(self, pid_file: str = "", pidfd_socket: str = "", console: int = -1, notify: bool = False) -> None:
        self.pid_file = pid_file
        self.pidfd_socket = pidfd_socket
        self.console = console
        self.notify = notify


def new_box(console: int = -1) -> Box:
    """A box with the real kernel and the host's /proc."""
    from ocirt.kernel import live

    box = Box(live)
    box.proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if console >= 0:
        box.fds["console-socket"] = console
    return box


def create(
    root: str, container_id: str, config: Config, text: bytes, bundle: str, plan: Plan, wishes: Wishes
) -> Container:
    """Bring the container to `created`; its lock is still held, and ending signals wait for who goes on with it.
    Raises OcirtError; then nothing of it is left.

    With a plan that executes at once init waits for start() likewise, in container.conversation and nowhere else.
    """
    from ocirt.process.launch import launch
    from ocirt.process.making import Making
    from ocirt.stages.cgroup import directories_to_make

    # Held back until launch() lets them in, inside the block that takes everything back.
    _signal.pthread_sigmask(_signal.SIG_BLOCK, ENDING_SIGNALS)
    log.phase("make the container's directory")
    record = first_record(config, bundle) | {"cgroup_wanted": directories_to_make(plan)}
    if config.linux is not None and config.linux.intel_rdt is not None:
        from ocirt.stages.resctrl import groups_to_make

        record["resctrl"] = groups_to_make(plan)
    container = Container.make(root, container_id, record, text)
    container.known_config = config
    with Undo() as undo:
        # A container that got as far as its hooks is destroyed as by delete (runtime.md, Lifecycle, steps 3-5).
        undo.push(lambda: run_poststop(container, config))
        undo.push(container.remove)
        box = new_box(wishes.console)
        if not plan.executes_at_once:
            box.fds[START_SOCKET] = container.listen()
        if wishes.notify:
            container.make_notify_directory()
        if log.tracer is not None:
            log.tracer.directory = container.dirfd

        launch(plan, box, Making(container, plan, box, wishes, undo), hold=plan.executes_at_once)
        if plan.executes_at_once:
            container.conversation = box.channel
        undo.finish()
    _kept.extend((plan, container))
    return container


def first_record(config: Config, bundle: str) -> dict[str, Any]:
    """The record of a container that is being created; see Container for its shape."""
    root = config.root
    return {
        "oci_version": config.oci_version,
        "bundle": bundle,
        "rootfs": os.path.normpath(os.path.join(bundle, root.path)) if root else "",
        "created": log.utc_now(),
        "owner": os.geteuid(),
        "cgroup": None,
        "root_mount": [],
        "annotations": config.annotations,
        "poststop": bool(config.hooks and config.hooks.poststop),
    }


def start(container: Container, foreground: bool = False) -> None:
    """Let a created container execute its program; returns when it does.  Raises StateError, OcirtError.

    `run` goes on with the conversation of its create: it has had the lock since, and nobody could connect.
    With NOTIFY_SOCKET it returns when the program has said that it is ready, unless the caller stays in the foreground.
    """
    sock = None
    log.phase("look at the container")
    if container.conversation is None:
        catch_ending_signals()
    with container.lock():
        if container.conversation is None:
            require_startable(startable_status(container))
        config = container.config()
        if config.process is None:
            raise StateError("status", "process property must not be empty", at="/process")
        if os.getenv("NOTIFY_SOCKET") and container.wants_notify():
            from ocirt.process.notify import listen

            sock = listen(container)
        if log.tracer is not None:
            log.tracer.adopt(container.dirfd, container.pid)
        log.phase("wait for the program to be executed")
        conversation = container.conversation or _connect(container)
        _execute(container, config, conversation)
        log.phase("end the conversation with init")
        conversation.close()
        if config.hooks is not None and config.hooks.poststart:
            _poststart(container, config)
        if foreground:
            container.remember()  # for its end
    if sock is not None:
        log.phase("wait for the program to say that it is ready")
        from ocirt.process.notify import forward, forward_beside

        (forward_beside if foreground else forward)(container, sock)


def _connect(container: Container) -> Channel:
    """The conversation with an init that waits for `start`; nobody can begin a second one."""
    conversation = container.connect()
    container.remove_start_socket()
    return conversation


def _execute(container: Container, config: Config, conversation: Channel) -> None:
    """Until init executes its program.  Raises what init reports, or how the wait for it ended."""
    conversation.bound = patience(config)
    seccomp = config.linux.seccomp if config.linux is not None else None
    try:
        if seccomp is not None and seccomp.listener_path:
            from ocirt.process.agent import execute_with_agent

            record = execute_with_agent(container, config, conversation)
        else:
            record = execute(conversation)
    except OcirtError as error:
        if error.code == "timeout":
            container.send_signal(SIGKILL)  # what is told to have failed may not run later
        raise
    if record.kind == ERROR:
        reported = OcirtError.from_record(record.fields)
        explain(reported, container, config, conversation)
        conversation.close()
        if not container.wait_gone(KILL_DEADLINE):  # it waited for this end, to be looked at
            container.send_signal(SIGKILL)
        raise reported
    if record.kind not in (EXECUTES, EOF):
        raise OcirtError("internal", f"init sent {record.kind} out of turn")
    # The end of the conversation is execve's or init's, which lives on for a moment; one of an older ocirt announces
    # nothing.
    if never_executed(container.pid) or (record.kind == EOF and not container.alive()):
        raise killed_for_memory(container.manager()) or OcirtError(
            "init-died", "container init died before it executed the program"
        )


def explain(error: OcirtError, container: Container, config: Config, conversation: Channel | None = None) -> None:
    """Give the error its cause, where that can be found, while init is still there."""
    if error.code == "internal":
        return

    def look() -> None:
        from ocirt import diagnosis

        diagnosis.explain_start(error, container, config, conversation)

    find_cause(error, look)


def find_cause(error: OcirtError, look: Callable[[], None]) -> None:
    """Let look change the error's remedy and pointer, see process/cause.py.  Without room to look: nothing."""
    log.phase("look for the cause")
    try:
        from ocirt.process import cause

        cause.find(error, look)
    except (OSError, ImportError, MemoryError):  # the failure is what is to be reported
        pass


def startable_status(container: Container) -> str:
    """As status(), but that of a created container that is paused: nobody would answer."""
    status = container.status()
    if status == "created":
        manager = container.manager()
        if manager is not None and manager.frozen():
            return CREATED_PAUSED
    return status


def patience(config: Config) -> tuple[float, OcirtError] | None:
    """The bound of the conversation with init; None with a startContainer hook that has no timeout."""
    seconds = START_DEADLINE
    for hook in config.hooks.start_container if config.hooks is not None else ():
        if hook.timeout is None:
            return None
        seconds += hook.timeout
    return seconds, OcirtError("timeout", f"waited {seconds:.0f} s for init to execute the program")


def execute(conversation: Channel, answer: Callable[[Record], None] | None = None) -> Record:
    """Send GO; what init ends with: EXECUTES, ERROR, or EOF when it died.  answer: does what init asks for.

    Raises OcirtError("interrupted"), and what answer and the conversation's bound raise.  Signals are held back
    meanwhile: once the program runs they are for it, and a handler could not tell.
    """
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, FORWARDED)
    poll = select.poll()
    poll.register(conversation.fileno(), select.POLLIN)
    announced = False
    try:
        conversation.send(GO)
        while True:
            waited = 0
            while not poll.poll(LOOK_FOR_SIGNALS):
                waited += LOOK_FOR_SIGNALS
                if _signal.sigpending() & set(ENDING_SIGNALS):
                    raise OcirtError("interrupted", "interrupted before the program was executed")
                if conversation.bound is not None and waited >= conversation.bound[0] * 1000:
                    raise conversation.bound[1]
            record = conversation.take()
            if record.kind == LOG:
                log.pass_on(*record.fields)
            elif record.kind == ASK and answer is not None:
                answer(record)
                conversation.send(DONE)
            elif record.kind == EXECUTES:
                announced = True
            else:
                return Record(EXECUTES, []) if record.kind == EOF and announced else record
    except BrokenPipeError:
        return Record(EOF, [])
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)


def require_startable(status: str) -> None:
    if status == "created":
        return
    if status == "stopped":
        raise StateError("status", "cannot start a container that has stopped")
    if status == CREATED_PAUSED:
        raise StateError("status", "cannot start a paused container", remedy="resume it first")
    if status in ("running", "paused"):
        raise StateError("status", "cannot start an already running container")
    raise StateError("status", f"cannot start a container in the {status} state")


def _poststart(container: Container, config: Config) -> None:
    """A failure stops the container (runtime.md, Lifecycle, step 9)."""
    try:
        # `run` holds signals back for the program, but a hook that hangs must be interruptible.
        before = _signal.pthread_sigmask(_signal.SIG_UNBLOCK, ENDING_SIGNALS)
        run_hooks(container, "poststart", config.hooks.poststart if config.hooks is not None else (), "running")
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
    except OcirtError as error:
        container.send_signal(SIGKILL)
        explain(error, container, config)
        raise


def catch_ending_signals() -> None:
    """A signal that ends the command ends the hook too that it waits for; one that the caller ignores stays ignored."""
    for signal in ENDING_SIGNALS:
        if _signal.getsignal(signal) != _signal.SIG_IGN:
            _signal.signal(signal, interrupted)


def run_hooks(container: Container, kind: str, hooks: tuple[Hook, ...], status: str) -> None:
    """Run hooks of the runtime's namespace with the container's state.  Raises OcirtError("hook") at the first."""
    from ocirt.hooks import hook_calls, run_program

    state = hook_state(container, status)
    for call in hook_calls(kind, hooks):
        log.phase(call.describe())
        run_program(call, state)


def hook_state(container: Container, status: str) -> bytes:
    from ocirt.config import jsontext

    state = container.state(status)
    if status == "stopped":
        del state["pid"]
    for ours in ("rootfs", "created", "owner"):
        del state[ours]
    return jsontext.dump(state).encode()


def destroy(container: Container) -> None:
    """Kill what is left; remove mounts and cgroups, run poststop hooks, remove the directory.  Repeatable."""
    log.phase("end what runs in the container")
    gone = not container.send_signal(SIGKILL)
    manager = container.manager()
    if manager is not None and manager.ours() and manager.pids():
        if manager.frozen():
            manager.freeze(False)
        manager.kill(SIGKILL)
    if not gone and not container.wait_gone(KILL_DEADLINE):
        raise OcirtError("timeout", "container init still running", remedy="its process cannot be killed: see dmesg")
    log.phase("remove its cgroup and what else was made on the host")
    mounted = container.record.get("root_mount")
    if mounted and container.same_boot():
        from ocirt.stages.root_mount import unmount_root

        unmount_root(new_box(), mounted)
    if manager is not None:
        manager.remove(kill=True)
    wanted = container.record["cgroup_wanted"]
    if wanted:  # the create was killed before it could note what it made of these
        from ocirt.cgroups.claim import remove_left

        remove_left(wanted)
    resctrl = container.record.get("resctrl")
    if resctrl and container.same_boot():
        from ocirt.resctrl import remove_recorded

        remove_recorded(resctrl)
    log.phase("remove its directory")
    config = config_for_poststop(container)
    container.remove()
    if config is not None:
        run_poststop(container, config)


def destroy_once(container: Container) -> None:
    """destroy() as one command among others: another may have deleted the container meanwhile."""
    try:
        with container.lock():
            destroy(container)
    except StateError as error:
        if error.code != "not-found":
            raise


def config_for_poststop(container: Container) -> Config | None:
    """None when there are no such hooks; a configuration that cannot be read must not keep the container alive."""
    if not container.record["poststop"]:
        return None
    try:
        return container.config()
    except (OSError, OcirtError) as error:
        log.warning(f"poststop hooks are not run: {error}")
        return None


def run_poststop(container: Container, config: Config) -> None:
    """A failure is a warning only, and the others still run (runtime.md, Lifecycle, step 13)."""
    if config.hooks is None or not config.hooks.poststop:
        return
    from ocirt.hooks import hook_calls, run_program

    catch_ending_signals()
    state = hook_state(container, "stopped")
    for call in hook_calls("poststop", config.hooks.poststop):
        log.phase(call.describe())
        try:
            run_program(call, state)
        except OcirtError as error:
            log.warning(error.what)


def hand_over(wishes: Wishes, pid: int, kind: str) -> None:
    """Tell the caller which process it is; done last, so that a failed command leaves no pid-file.

    kind: STANDARD or SETNS.
    """
    if wishes.pidfd_socket:
        send_pidfd(wishes.pidfd_socket, pid, kind)
    if wishes.pid_file:
        write_pid_file(wishes.pid_file, pid)


def write_pid_file(path: str, pid: int) -> None:
    """Decimal digits and no newline: go-runc parses the raw bytes.  Whole or not at all."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}")
    # O_NONBLOCK: to open a FIFO would wait for a reader.
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
    try:
        os.write(fd, str(pid).encode())
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
    finally:
        os.close(fd)


def connect_console(path: str, at: str) -> int:
    """fd of a connection to the AF_UNIX socket that wants a terminal's master.  Raises OcirtError("console")."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    # For connect(2) too, which waits for room in the listener's queue.  A non-blocking socket would not wait at all.
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, _TIMEVAL.pack(SOCKET_DEADLINE, 0))
    try:
        sock.connect(path)
    except BlockingIOError:
        raise OcirtError(
            "timeout", f"waited {SOCKET_DEADLINE} s for who listens on the socket {path} to accept", at=at
        ) from None
    except OSError as error:
        raise OcirtError(
            "console", f"connect to the socket {path}", at=at, call="connect", errno=error.errno or 0
        ) from None
    return sock.detach()


def send_pidfd(path: str, pid: int, kind: str) -> None:
    """Send a pidfd to an AF_UNIX socket, beside it what runc calls such a process."""
    pidfd = os.pidfd_open(pid)
    sock = _socket.socket(fileno=connect_console(path, ""))
    sock.sendmsg([kind.encode()], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, pidfd.to_bytes(4, "little"))])
    sock.close()
    os.close(pidfd)


def remove_remains(root: str, container_id: str, seconds: float = LOCK_DEADLINE) -> bool:
    """Remove a directory without a record that can be read; whether there was one.

    Either its create was interrupted, or the record is damaged.  What it still tells is undone as by destroy().
    """
    container = Container.salvage(root, container_id, seconds)
    if container is None:
        return False
    try:
        if container.has_start_socket():
            try:
                container.connect().close()  # an init that waits there ends with the conversation
            except OSError:
                pass  # nobody waits
        destroy(container)
    finally:
        container.close()
    return True
