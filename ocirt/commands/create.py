"""ocirt create: a container from a bundle, waiting for start."""

from __future__ import annotations

from ocirt import log
from ocirt import system as os
from ocirt.config.bundle import open_bundle, read_config
from ocirt.container import NOTIFY, check_id
from ocirt.errors import OcirtError, UsageError
from ocirt.host import probe_host
from ocirt.options import FLAG, LIST, STANDARD_STREAM, VALUE, Option
from ocirt.plan import Options, make_plan
from ocirt.process.inherited import close_inherited, listen_fds
from ocirt.process.lifecycle import Wishes, connect_console, create

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.config.views import Config, Process
    from ocirt.container import Container
    from ocirt.extensions import Extension
    from ocirt.host import Host
    from ocirt.options import Globals, Parsed
    from ocirt.process.terminal import Terminal
    from ocirt.seccomp.watcher import Watch
    from ocirt.stages.cap_audit import Audit

SUMMARY = "create a container from a bundle and leave it waiting for start"
ARGUMENTS = "<container-id>"
BUNDLE = Option("bundle", "b", VALUE, "path of the bundle directory (default: the working directory)", "DIR")
NO_PIVOT = Option("no-pivot", "", FLAG, "do not use pivot_root: move the root mount and chroot")
NO_NEW_KEYRING = Option("no-new-keyring", "", FLAG, "do not make a session keyring; keep the caller's")
STAGE = Option("stage", "", LIST, "add a stage that another package brings; repeatable", "NAME")
OPTIONS = (
    BUNDLE,
    Option("console-socket", "", VALUE, "AF_UNIX socket that receives the terminal's master", "PATH"),
    Option("pidfd-socket", "", VALUE, "AF_UNIX socket that receives a pidfd of init", "PATH"),
    Option("pid-file", "", VALUE, "file to write init's process id to", "FILE"),
    NO_PIVOT,
    NO_NEW_KEYRING,
    Option("preserve-fds", "", VALUE, "pass N more descriptors to the program, from 3 on", "N"),
    Option("seccomp-record", "", VALUE, "write a seccomp profile of the system calls that are made", "FILE"),
    Option("seccomp-explain", "", VALUE, 'say of each denied system call why: JSON lines; "-": stderr', "FILE"),
    STAGE,
    Option("no-subreaper", "", FLAG, "accepted for callers that know it", hidden=True),
)
MIN_ARGS = MAX_ARGS = 1


def main(g: Globals, options: Parsed) -> int:
    """create returns when init waits for start."""
    container, _, _ = create_container(g, options, detached=True)
    container.unlock()
    return 0


def create_container(
    g: Globals, options: Parsed, *, detached: bool, starts: bool = False, audit: Audit | None = None
) -> tuple[Container, Terminal | None, Watch | None]:
    """What create and run have in common.  starts: by lifecycle.start(), in this process.
    audit: counts the capabilities that the program asks for.

    The terminal is ours, for a foreground run with process.terminal; the watch is what the options ask for.
    """
    log.phase("read the bundle")
    check_id(options.args[0])
    listening, listen_env = listen_fds()
    preserve = listening + close_inherited(options.preserve_fds, listening)
    notify = os.path.join(g.root, options.args[0], NOTIFY) if os.getenv("NOTIFY_SOCKET") else ""
    wishes = Wishes(absolute(options.pid_file), absolute(options.pidfd_socket), notify=bool(notify))
    console_socket = absolute(options.console_socket)
    recorded, explained = absolute(options.seccomp_record), absolute_or_dash(options.seccomp_explain)
    bundle = open_bundle(options.bundle)
    os.chdir(bundle.path)  # hooks start here, and relative paths in config.json are relative to it
    text = bundle.config_text()
    config = read_config(text)
    check_console(config.process, console_socket, detached)
    terminal = open_terminal(config.process, console_socket, detached, wishes)
    log.phase("look at the host")
    host = probe_host()
    log.phase("decide on the plan")
    watch = wanted_watch(config, host, recorded, explained, detached)
    plan = make_plan(
        config,
        host,
        Options(
            options.args[0],
            bundle.path,
            no_pivot=options.no_pivot,
            no_new_keyring=options.no_new_keyring,
            preserve_fds=preserve,
            listen_env=listen_env,
            rootless=is_rootless(g, host),
            cgroup_manager=g.cgroup_manager,
            notify=notify,
            watch=watch,
            audit=audit,
            executes_at_once=starts,
            extensions=load_stages(options.stage),
        ),
    )
    return create(g.root, options.args[0], config, text, bundle.path, plan, wishes), terminal, watch


def open_terminal(
    process: Process | None, console_socket: str, detached: bool, wishes: Wishes, at: str = "/process/terminal"
) -> Terminal | None:
    """Where the program's terminal goes, noted in wishes: to us in the foreground, or to a socket.

    at: what asks for it.  Raises OcirtError("console").
    """
    if not detached and process is not None and process.terminal:
        from ocirt.process.terminal import Terminal

        terminal = Terminal()
        wishes.console = terminal.console
        return terminal
    if console_socket:
        wishes.console = connect_console(console_socket, at)
    return None


def load_stages(names: list[str]) -> tuple[Extension, ...]:
    """Stages of others, by name.  Raises OcirtError."""
    if not names:
        return ()
    from ocirt import extensions

    return extensions.load(names)


def wanted_watch(config: Config, host: Host, recorded: str, explained: str, detached: bool) -> Watch | None:
    """What watches the container's system calls.  recorded, explained: paths; explained may be STANDARD_STREAM.

    Raises UsageError, and what the watch cannot be.
    """
    if not recorded and not explained:
        return None
    if recorded and explained:
        raise UsageError(
            "--seccomp-record cannot be used with --seccomp-explain: there is nothing denied while recording"
        )
    if explained == STANDARD_STREAM and detached:
        raise UsageError("--seccomp-explain - needs a run in the foreground", remedy="name a file")
    from ocirt.kernel.numbers import ARCHITECTURE
    from ocirt.seccomp import watcher

    profile = config.linux.seccomp if config.linux is not None else None
    begin = watcher.record if recorded else watcher.explain
    return begin(recorded or explained, profile, ARCHITECTURE, host.kernel)


def is_rootless(g: Globals, host: Host) -> bool:
    """Whether missing rights over cgroups are borne: --rootless decides, or who we are."""
    return host.rootless if g.rootless == "auto" else g.rootless == "true"


def check_console(process: Process | None, console_socket: str, detached: bool) -> None:
    """A terminal needs somebody to take its master: a socket, or ourselves in the foreground."""
    wants_terminal = process is not None and bool(process.terminal)
    at = f"{process.at if process is not None else '/process'}/terminal"
    if wants_terminal and detached and not console_socket:
        raise OcirtError(
            "console",
            "cannot allocate tty if ocirt will detach without setting console socket",
            at=at,
            remedy="give --console-socket PATH, or set process.terminal to false",
        )
    if console_socket and not (wants_terminal and detached):
        raise OcirtError(
            "console",
            "cannot use console socket if ocirt will not detach or allocate tty",
            at=at,
            remedy="leave --console-socket away, or set process.terminal to true",
        )


def absolute_or_dash(path: str) -> str:
    return path if path == STANDARD_STREAM else absolute(path)


def absolute(path: str) -> str:
    """path from the caller's working directory; "" stays ""."""
    return os.path.abspath(path) if path else ""
