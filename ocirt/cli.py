"""The command line: global options, one command out of a table, and every failure as one complete last line.

The line stands on stderr and, with --log, as the one error record in the log:
    ocirt create web1: mounts: mount proc on /proc: operation not permitted [/mounts/0] - add a pid namespace
    ocirt <command> <id>: <stage>: <what was tried>: <errno in words> [<JSON pointer>] - <remedy>
Exit status: 0, what the command returns, 1 for a failure (255 for exec: its own statuses are the payload's).
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the public module imports enum: 4 ms
import sys

from ocirt import OCI_VERSION, __version__, log, options
from ocirt import system as os
from ocirt.errors import OcirtError, UsageError, system_error
from ocirt.options import VALUE, Globals, Misuse, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import NoReturn

    from ocirt.trace.file import TraceFile

APP = "ocirt"
SUMMARY = "OCI low-level container runtime in Python"
WHOLE = "install all of Python (Debian: the package python3, for python3-minimal is a part of it)"
FAILURE, INTERRUPTED, READER_GONE = 1, 128 + 2, 128 + 13  # the last two as a shell reports SIGINT and SIGPIPE

# In the order of a container's life.  The one line is here so that the help imports no command.
COMMANDS = {
    "create": "create a container from a bundle and leave it waiting for start",
    "start": "run the user's process in a created container",
    "run": "create and start a container, and wait for its process unless detached",
    "exec": "execute a process in a running container",
    "state": "print the state of a container as JSON",
    "list": "list the containers under the root directory",
    "ps": "show the processes in a container",
    "kill": "send a signal to a container's init process",
    "pause": "suspend all processes of a container",
    "resume": "let a paused container go on",
    "update": "change the resource limits of a container",
    "events": "report out-of-memory events and resource usage as JSON lines",
    "stats": "show what containers use of CPU, memory, processes and disks",
    "checkpoint": "save a running container to files, by CRIU",
    "restore": "restore a container from the files of a checkpoint",
    "delete": "remove a stopped container and what create made for it",
    "gc": "remove what commands that were killed have left behind",
    "doctor": "say what is wrong with the machine or a container, and how to mend it",
    "bugreport": "put what is known of a container and its host into an archive, without secrets",
    "spec": "write a config.json to start from",
    "seccomp": "test, show, compare and merge seccomp profiles",
    "features": "print what this runtime supports as JSON",
    "trace": "show what --trace FILE has recorded as a chart",
    "plan": "print what create would do, step by step, and do nothing",
    "check": "say what is wrong or dangerous in a bundle's config.json, and where",
}

OPTIONS = (
    Option("debug", help="log every step; to stderr or to the --log file"),
    Option("log", kind=VALUE, metavar="FILE", help="log file (default: standard error)"),
    Option("log-format", kind=VALUE, metavar="FORMAT", help='"text" (default) or "json"'),
    Option("root", kind=VALUE, metavar="DIR", help="where containers are recorded (default: /run/ocirt)"),
    Option("systemd-cgroup", help='let systemd make the cgroups; cgroupsPath is "slice:prefix:name"'),
    Option(
        "cgroup-manager", kind=VALUE, metavar="NAME", help='"cgroupfs" (default), "systemd" or "disabled", as in crun'
    ),
    Option("rootless", kind=VALUE, metavar="BOOL", help='bear missing cgroup permission: "true", "false" or "auto"'),
    Option("trace", kind=VALUE, metavar="FILE", help="write what took how long, for Perfetto or `ocirt trace view`"),
    Option("trace-format", kind=VALUE, metavar="FORMAT", help='"chrome" (default) or "otlp" (default for *.otlp.json)'),
    Option("version", "v", help="print the version"),
)


def main() -> NoReturn:
    """Run sys.argv and end the process at once: nothing is buffered, so there is nothing to finalise (1 ms)."""
    os._exit(run(sys.argv[1:]))


def run(words: list[str]) -> int:
    """Run one command line (without the program's name); the exit status.  Every failure has been reported."""
    context = _Context()
    try:
        _fill_standard_descriptors()
        _keep_ended_children()
        return _run(words, context)
    except log.ReaderGone:
        return READER_GONE
    except KeyboardInterrupt:
        context.error = "interrupted"
        return INTERRUPTED
    except Exception as error:
        _report(context, _as_record(error))
        return context.failure if not isinstance(error, Misuse) else context.misuse
    finally:
        if context.trace is not None:
            _end_trace(context, context.trace)
        log.release()


class _Context:
    """What is known so far about the command, for the error line and the trace.

    error: that line, "" as long as nothing failed; step: the one of a plan that did.
    """

    __slots__ = ("error", "failure", "misuse", "prefix", "step", "trace")

    def __init__(self) -> None:
        self.prefix = APP
        self.failure = self.misuse = FAILURE
        self.error = self.step = ""
        self.trace: TraceFile | None = None


def _run(words: list[str], context: _Context) -> int:
    try:
        given = options.parse(OPTIONS, words, stop_at_positional=True)
    except Misuse as error:
        log.show(f"{error.heading}\n\n{_help()}")
        raise
    log_format = given.log_format or "text"
    log.configure(given.log, log_format if log_format in ("text", "json") else "text", given.debug)
    if given.help:
        return _show(_help())
    if given.version:
        return _show(_version())
    if not given.args:
        return _show(_help())
    name, *rest = given.args
    if given.trace or given.trace_format:
        context.trace = _begin_trace(given)
        log.phase(f"load the command {name}")
    if name in ("help", "h"):
        return _show(_command_help(_load(rest[0]), rest[0], whole=True) if rest else _help(whole=True))
    command = _load(name)
    context.prefix = f"{APP} {name}"
    context.misuse = getattr(command, "MISUSE", FAILURE)
    try:
        parsed = options.parse(command.OPTIONS, rest, getattr(command, "STOP_AT_POSITIONAL", False))
        if parsed.help:
            return _show(_command_help(command, name))
        options.check_count(
            APP, name, parsed.args, getattr(command, "MIN_ARGS", 0), getattr(command, "MAX_ARGS", options.ANY_NUMBER)
        )
    except Misuse as error:
        log.show(f"{error.heading}\n\n{_command_help(command, name)}")
        raise
    if parsed.args and command.ARGUMENTS.startswith("<container-id>"):
        context.prefix = f"{APP} {name} {parsed.args[0]}"
    g = _globals(given, log_format)
    context.failure = getattr(command, "FAILURE", FAILURE)
    if context.trace is not None:
        log.phase(f"carry out {name}")
    status: int = command.main(g, parsed)
    return status


def _begin_trace(given: options.Parsed) -> TraceFile:
    """Record from now on.  Raises UsageError, OSError for a file that cannot take the trace."""
    from ocirt.trace import begin

    return begin(given.trace, given.trace_format)


def _end_trace(context: _Context, file: TraceFile) -> None:
    """Write what was recorded; what cannot be written is a warning: the command has done its work."""
    from ocirt.trace import end

    try:
        end(file, context.prefix, context.error, context.step)
    except Exception as error:
        log.warning(f"the trace cannot be written: {error}")


def _globals(given: options.Parsed, log_format: str) -> Globals:
    """The global options checked and completed.  Raises UsageError."""
    if log_format not in ("text", "json"):
        raise UsageError(f"invalid log-format: {log_format}")
    g = Globals()
    g.app = APP
    g.debug, g.log, g.log_format = given.debug, given.log, log_format
    g.root_given = bool(given.root)
    g.root = os.path.abspath(given.root) if given.root else _default_root()
    if g.root.strip("/") == "":
        raise UsageError("Option --root argument should not be set to /")
    g.cgroup_manager = given.cgroup_manager or ("systemd" if given.systemd_cgroup else "cgroupfs")
    if g.cgroup_manager not in ("cgroupfs", "systemd", "disabled"):
        raise UsageError(f'unknown cgroup manager "{g.cgroup_manager}"')
    g.systemd_cgroup = g.cgroup_manager == "systemd"
    rootless = options.parse_bool(given.rootless) if given.rootless not in ("", "auto") else "auto"
    if rootless is None:
        raise UsageError(f'--rootless: parsing "{given.rootless}": invalid syntax')
    g.rootless = str(rootless).lower()
    return g


def _default_root() -> str:
    """/run/ocirt, or for who is not really root $XDG_RUNTIME_DIR/ocirt, made when it is missing."""
    runtime_dir = os.getenv("XDG_RUNTIME_DIR")
    if not runtime_dir or not _honours_runtime_dir():
        return f"/run/{APP}"
    root = os.path.abspath(os.path.join(runtime_dir, APP))
    if not os.path.exists(root):
        os.makedirs(root, 0o700)
        os.chmod(root, 0o1700)  # sticky: the XDG specification's mark for "not to be aged out"
    return root


def _honours_runtime_dir() -> bool:
    """As runc: not root, or root of a user namespace only (podman unshare), unless $USER says root."""
    if os.geteuid() != 0:
        return True
    if os.getenv("USER") == "root":
        return False
    return os.read_whole("/proc/self/uid_map").split() != [b"0", b"0", b"4294967295"]


def _load(name: str) -> ModuleType:
    """The command's module, the only one that is imported.  Raises UsageError."""
    if name not in COMMANDS:
        raise Misuse(f"No help topic for '{name}'")
    module: ModuleType = __import__(f"ocirt.commands.{name}", fromlist=("main",))
    return module


# -- help and version ----------------------------------------------------------------------------


def _show(text: str) -> int:
    log.show(text)
    return 0


def _version() -> str:
    """moby looks for a line with `version` and one with `commit:`; go-runc leaves its fields empty unless line 1
    says `runc version`, which is no error to it, so ocirt does not pretend to be another program."""
    python = ".".join(map(str, sys.version_info[:3]))
    return f"{APP} version {__version__}\ncommit: v{__version__}\nspec: {OCI_VERSION}\npython: {python}\n"


def _help(whole: bool = False) -> str:
    from ocirt import help  # only who asks pays for it

    function = help.all_commands if whole else help.overview
    return function(APP, __version__, SUMMARY, COMMANDS, OPTIONS)


def _command_help(command: ModuleType, name: str, whole: bool = False) -> str:
    from ocirt import help

    return help.command_help(APP, name, command.SUMMARY, command.ARGUMENTS, command.OPTIONS, whole)


# -- failures ------------------------------------------------------------------------------------


def _as_record(error: Exception) -> OcirtError:
    """Any exception as a record.  What nobody expected is the code's fault; its traceback goes to the debug log."""
    if isinstance(error, OcirtError):
        return error
    if isinstance(error, OSError) and error.errno:
        return system_error(error)
    if log.debugging and sys.meta_path:  # empty: the imports are sealed, and traceback is one
        import traceback

        log.debug("".join(traceback.format_exception(error)))
    if isinstance(error, ImportError) and _is_missing(error):
        return OcirtError(
            "internal", f"this Python lacks the module {error.name} of its standard library", remedy=WHOLE
        )
    # CPython's own words where it ran out of memory without a MemoryError: "returned NULL without setting an exception"
    if isinstance(error, MemoryError) or (isinstance(error, SystemError) and " without " in str(error)):
        return OcirtError("internal", "out of memory")
    return OcirtError("internal", f"{type(error).__name__}: {error}", remedy="a fault in ocirt: --debug shows where")


def _is_missing(error: ImportError) -> bool:
    """Whether a file of the standard library is not there.  Where the imports are sealed the fault is ours."""
    ours = not error.name or error.name.partition(".")[0] == APP
    gone = isinstance(error, ModuleNotFoundError) or (error.path is not None and not os.path.exists(error.path))
    return gone and not ours and bool(sys.meta_path)


def sentence(error: OcirtError) -> str:
    """`stage: what: errno in words [pointer]`; each part only when it is known and not said yet."""
    text = error.what
    if error.detail and not error.call and error.detail not in text:
        text += f" ({error.detail})"
    if error.errno:
        reason = os.strerror(error.errno)
        reason = reason[:1].lower() + reason[1:]
        if reason not in text:
            text += f": {reason}"
    if error.stage:
        text = f"{error.stage}: {text}"
    return f"{text} [{error.at}]" if error.at else text


def _report(context: _Context, error: OcirtError) -> None:
    """Write the last line to stderr and the error record to the log."""
    error.remedy = error.remedy or _remedy(error)
    line = error.what if isinstance(error, Misuse) else f"{context.prefix}: {sentence(error)}"
    context.error, context.step = line, error.step
    if error.remedy:
        line += f" - {error.remedy}"
    fields: dict[str, str | int] = {
        "code": error.code,
        "stage": error.stage,
        "step": error.step,
        "pointer": error.at,
        "call": error.call,
        "errno": error.errno,
        "detail": error.detail,
        "remedy": error.remedy,
    }
    log.failure(line, {name: value for name, value in fields.items() if value})


def _remedy(error: OcirtError) -> str:
    """ "" also when what failed keeps the table from being read: no descriptor, no memory."""
    try:
        from ocirt import remedies
    except (OSError, ImportError, MemoryError):
        return ""
    return remedies.find(error)


def _fill_standard_descriptors() -> None:
    """Open /dev/null on 0, 1 and 2 where they are closed: else the next file opened would get the errors."""
    try:
        for fd in range(log.STDERR + 1):
            os.get_inheritable(fd)  # only to ask whether it is open: fcntl(2), F_GETFD
    except OSError:
        fd = os.open("/dev/null", os.O_RDWR)
        while fd <= log.STDERR:
            os.set_inheritable(fd, True)
            fd = os.open("/dev/null", os.O_RDWR)
        os.close(fd)


def _keep_ended_children() -> None:
    """Until we ask for their status: a caller that ignores SIGCHLD hands that on, and the kernel would keep none."""
    if _signal.getsignal(_signal.SIGCHLD) == _signal.SIG_IGN:
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
