"""ocirt exec: one more process in a running container."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the public module imports enum: 4 ms

from ocirt import log
from ocirt.commands.create import absolute, check_console, open_terminal
from ocirt.config import checks, jsontext
from ocirt.config.bundle import read_file, read_process
from ocirt.config.views import Process
from ocirt.container import Container
from ocirt.errors import StateError, UsageError
from ocirt.exec_plan import make_exec_plan
from ocirt.host import probe_host
from ocirt.options import FLAG, LIST, VALUE, Option
from ocirt.pipeline import FORWARDED, HELD_SIGNALS, Undo
from ocirt.process.inherited import close_inherited
from ocirt.process.launch import kill_child, launch
from ocirt.process.lifecycle import SETNS, Wishes, hand_over, new_box

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.config.views import Config
    from ocirt.options import Globals, Parsed

SUMMARY = "execute a process in a running container"
ARGUMENTS = "<container-id> <command> [args...]  |  --process FILE <container-id>"
OPTIONS = (
    Option("process", "p", VALUE, "process.json: the process as config.json would have it", "FILE"),
    Option("console-socket", "", VALUE, "AF_UNIX socket that receives the terminal's master", "PATH"),
    Option("pid-file", "", VALUE, "file to write the process id to", "FILE"),
    Option("pidfd-socket", "", VALUE, "AF_UNIX socket that receives a pidfd of the process", "PATH"),
    Option("detach", "d", FLAG, "return when the process runs"),
    Option("tty", "t", FLAG, "give the process a terminal"),
    Option("cwd", "", VALUE, "working directory in the container", "DIR"),
    Option("env", "e", LIST, "environment variable; repeatable", "NAME=VALUE"),
    Option("user", "u", VALUE, "numeric user and group", "UID[:GID]"),
    Option("additional-gids", "g", LIST, "supplementary group; repeatable", "GID"),
    Option("process-label", "", VALUE, "SELinux label", "LABEL"),
    Option("apparmor", "", VALUE, "AppArmor profile", "PROFILE"),
    Option("no-new-privs", "", FLAG, "set no_new_privs"),
    Option("cap", "c", LIST, "capability to add to bounding, effective and permitted; repeatable", "CAP"),
    Option("preserve-fds", "", VALUE, "pass N more descriptors to the process, from 3 on", "N"),
    Option("cgroup", "", LIST, "sub-cgroup of the container's to run in; repeatable", "[CONTROLLER[,..]:]PATH"),
    Option("ignore-paused", "", FLAG, "do not refuse a paused container"),
)
MIN_ARGS, MAX_ARGS = 1, -1
STOP_AT_POSITIONAL = True
FAILURE = 255  # the statuses below are the process's own

CONFINEMENT = ("capabilities", "apparmorProfile", "selinuxLabel", "oomScoreAdj")

MAX_DIGITS = 20  # Python refuses to convert thousands of digits
MAX_ID = 2**32 - 2  # 2**32 - 1 is the kernel's "no change"


def main(g: Globals, options: Parsed) -> int:
    """The exit status of the process, 128 + n when signal n ended it; 0 when detached."""
    log.phase("read the container's record and configuration")
    container = Container.load(g.root, options.args[0])
    require_executable(container.status(), options.ignore_paused)
    preserve = close_inherited(options.preserve_fds, 0)
    wishes = Wishes(absolute(options.pid_file), absolute(options.pidfd_socket))
    config = container.config()
    process = wanted_process(config, options)
    check_console(process, options.console_socket, options.detach)
    terminal = open_terminal(process, absolute(options.console_socket), options.detach, wishes, "/terminal")
    log.phase("look at the host, and decide on the plan")
    plan = make_exec_plan(config, process, container, probe_host(), preserve, tuple(options.cgroup))
    box = new_box(wishes.console)
    with Undo() as undo:
        undo.push(lambda: kill_child(box))  # nobody would know of a process that was not handed over
        if not options.detach:
            _signal.pthread_sigmask(_signal.SIG_BLOCK, HELD_SIGNALS)  # until stay(): they are for the program
        launch(plan, box)
        hand_over(wishes, box.pid, SETNS)
        code = 0
        if not options.detach:
            _signal.pthread_sigmask(_signal.SIG_BLOCK, FORWARDED)
            from ocirt.process.foreground import stay

            code = stay(box.pid, terminal)
        undo.finish()
    return code


def require_executable(status: str, ignore_paused: bool) -> None:
    """Raise StateError unless a process can be executed in a container of this status."""
    if status == "stopped":
        raise StateError("status", "cannot exec in a stopped container")
    if status == "paused" and not ignore_paused:
        raise StateError("status", "cannot exec in a paused container (use --ignore-paused to override)")
    if status == "creating":
        raise StateError("status", "cannot exec in a container that is being created")


def wanted_process(config: Config, options: Parsed) -> Process:
    """--process, or the container's own process with what the options change."""
    if options.process:
        process = read_process(read_file(options.process, options.process), options.process)
        checks.warn_of(process)
        return confined(process, config.process.raw if config.process is not None else {})
    if len(options.args) < 2:
        raise UsageError("exec args cannot be empty", remedy="name a command, or give --process FILE")
    if config.process is None:
        raise StateError("status", "process property must not be empty", at="/process")
    value = changed_process(config.process.raw, options)
    return read_process(jsontext.dump(value).encode(), "the process of exec")


def confined(process: Process, own: dict[str, Any]) -> Process:
    """The process of a file, which says all but the container's confinement: what it leaves out of that is as for the
    container's own, as callers of runc and crun have it.  Without, it would keep the caller's labels and score."""
    missing = {name: own[name] for name in CONFINEMENT if name in own and process.raw.get(name) in (None, "")}
    return Process({**process.raw, **missing}) if missing else process


def changed_process(own: dict[str, Any], options: Parsed) -> dict[str, Any]:
    """The container's process with the options laid over it.  Raises UsageError."""
    value = {**own, "args": options.args[1:], "terminal": options.tty}
    if not options.tty:
        value.pop("consoleSize", None)
    if options.cwd:
        value["cwd"] = options.cwd
    if options.env:
        value["env"] = [*own.get("env", ()), *options.env]
    if options.user:
        value["user"] = {**own["user"], **parse_user(options.user)}
    if options.additional_gids:
        gids = [parse_id("gid", text) for text in options.additional_gids]
        value["user"] = {**value["user"], "additionalGids": [*value["user"].get("additionalGids", ()), *gids]}
    for name, given in (("selinuxLabel", options.process_label), ("apparmorProfile", options.apparmor)):
        if given:
            value[name] = given
    if options.no_new_privs:
        value["noNewPrivileges"] = True
    if options.cap:
        value["capabilities"] = added_capabilities(own.get("capabilities", {}), options.cap)
    return value


def parse_user(text: str) -> dict[str, int]:
    """UID[:GID], digits only (CVE-2026-30892: nothing that is not understood may end as 0)."""
    uid, colon, gid = text.partition(":")
    ids = {"uid": parse_id("uid", uid)}
    if colon:
        ids["gid"] = parse_id("gid", gid)
    return ids


def parse_id(kind: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > MAX_DIGITS or int(text) > MAX_ID:
        raise UsageError(f"bad {kind}: {text!r} is not a number from 0 to {MAX_ID}")
    return int(text)


def added_capabilities(own: dict[str, list[str]], names: list[str]) -> dict[str, list[str]]:
    """Into bounding, effective and permitted; into ambient only where the container has inheritable ones
    (CVE-2022-29162: inheritable is never touched)."""
    sets = ["bounding", "effective", "permitted"]
    if "inheritable" in own:
        sets.append("ambient")
    added = dict(own)
    for name in sets:
        added[name] = list(dict.fromkeys([*own.get(name, ()), *names]))
    return added
