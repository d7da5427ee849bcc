"""ocirt restore: a container from the files of a checkpoint, by CRIU."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the public module imports enum: 4 ms

from ocirt import log
from ocirt import system as os
from ocirt.commands.create import BUNDLE, absolute, check_console, is_rootless, open_terminal
from ocirt.config.bundle import open_bundle, read_config
from ocirt.container import check_id
from ocirt.criu import program
from ocirt.criu.request import IMAGES, RESTORE_LOG, SHARED, config_file, options_of
from ocirt.host import probe_host
from ocirt.kernel.processes import set_child_subreaper
from ocirt.options import FLAG, VALUE, Option
from ocirt.pipeline import FORWARDED, HELD_SIGNALS, Undo
from ocirt.plan import Options
from ocirt.process.criu import YARD, Directories
from ocirt.process.inherited import close_inherited
from ocirt.process.lifecycle import Wishes, destroy_once
from ocirt.process.restore import PLACE, Restore
from ocirt.restore_plan import make_restore_plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.container import Container
    from ocirt.options import Globals, Parsed
    from ocirt.process.terminal import Terminal

SUMMARY = "restore a container from the files of a checkpoint"
ARGUMENTS = "<container-id>"
OPTIONS = (
    BUNDLE,
    Option("console-socket", "", VALUE, "AF_UNIX socket that receives the terminal's master", "PATH"),
    Option("pid-file", "", VALUE, "file to write init's process id to", "FILE"),
    Option("detach", "d", FLAG, "return when the processes run"),
    Option("keep", "", FLAG, "do not delete the container when its process ends"),
    Option("no-subreaper", "", FLAG, "do not reap the orphans of the container's process"),
    Option("no-pivot", "", FLAG, "accepted for callers that know it: CRIU decides", hidden=True),
    Option("no-new-keyring", "", FLAG, "accepted for callers that know it: keyrings are not saved", hidden=True),
    *SHARED,
    Option("tcp-close", "", FLAG, "restore established TCP connections as closed ones"),
    Option("lsm-profile", "", VALUE, "security module's profile instead of the saved one", "TYPE:NAME"),
    Option("lsm-mount-context", "", VALUE, "SELinux context of mounts instead of the saved one", "CONTEXT"),
)
MIN_ARGS = MAX_ARGS = 1


def main(g: Globals, options: Parsed) -> int:
    """0 when detached; else the exit status of the container's process, 128 + n when signal n ended it."""
    if options.detach:
        container, _ = restore_container(g, options)
        container.unlock()
        return 0
    if not options.no_subreaper:
        set_child_subreaper(True)
    _signal.pthread_sigmask(_signal.SIG_BLOCK, HELD_SIGNALS)  # until stay(): they are for the program
    container, terminal = restore_container(g, options)
    with Undo() as undo:
        undo.push(lambda: destroy_once(container))
        _signal.pthread_sigmask(_signal.SIG_BLOCK, FORWARDED)
        container.unlock()
        from ocirt.process.foreground import destroy_ended, stay

        code = stay(container.pid, terminal)
        undo.keep()
    if not options.keep:
        destroy_ended(container)
    return code


def restore_container(g: Globals, options: Parsed) -> tuple[Container, Terminal | None]:
    """Everything is decided here.  The terminal is ours, for a foreground restore with process.terminal."""
    log.phase("read the bundle")
    container_id = options.args[0]
    check_id(container_id)
    close_inherited("", 0)
    wishes = Wishes(absolute(options.pid_file))
    console_socket = absolute(options.console_socket)
    images, work = absolute(options.image_path or IMAGES), absolute(options.work_path)
    bundle = open_bundle(options.bundle)
    os.chdir(bundle.path)  # as create
    text = bundle.config_text()
    config = read_config(text)
    check_console(config.process, console_socket, options.detach)
    fields = options_of(options, may_use_iptables=bool(program.find_program("iptables-restore")))
    log.phase("ask CRIU for its version")
    criu = program.find_criu()
    program.version(criu)
    log.phase("look at the host, and decide on the plan")
    host = probe_host()
    plan_options = Options(container_id, bundle.path, rootless=is_rootless(g, host), cgroup_manager=g.cgroup_manager)
    place, yard = (os.path.join(g.root, container_id, name) for name in (PLACE, YARD))
    plan = make_restore_plan(config, host, plan_options, criu, program.ENVIRONMENT, images, place, yard)
    directories = Directories(images, work, RESTORE_LOG, config_file(config.annotations))
    restore = Restore(config, text, bundle.path, host, directories, fields)
    terminal = open_terminal(config.process, console_socket, options.detach, wishes)
    return restore.make_container(g.root, container_id, plan, place, wishes), terminal
