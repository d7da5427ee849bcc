"""ocirt run: create and start, and stay with the process unless detached."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the public module imports enum: 4 ms

from ocirt.commands import create
from ocirt.errors import UsageError
from ocirt.kernel.processes import set_child_subreaper
from ocirt.options import FLAG, VALUE, Option
from ocirt.pipeline import ENDING_SIGNALS, FORWARDED, Undo
from ocirt.process.lifecycle import destroy_once, start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.options import Globals, Parsed
    from ocirt.process.cap_audit import AuditReport

SUMMARY = "create and start a container, and wait for its process unless detached"
ARGUMENTS = "<container-id>"
OPTIONS = (
    *(option for option in create.OPTIONS if not option.hidden),
    Option("detach", "d", FLAG, "return when the process runs"),
    Option("keep", "", FLAG, "do not delete the container when its process ends"),
    Option("cap-audit", "", VALUE, "write which capabilities the processes asked for", "FILE"),
    Option("no-subreaper", "", FLAG, "do not reap the orphans of the container's process"),
)
MIN_ARGS = MAX_ARGS = 1


def main(g: Globals, options: Parsed) -> int:
    """The exit status of the container's process, 128 + n when signal n ended it; 0 when detached."""
    if options.detach:
        if options.cap_audit:
            raise UsageError("--cap-audit needs a run in the foreground")
        container, _, _ = create.create_container(g, options, detached=True, starts=True)
        with Undo() as undo:
            undo.push(lambda: destroy_once(container))
            _signal.pthread_sigmask(_signal.SIG_UNBLOCK, ENDING_SIGNALS)
            start(container)
            undo.finish()
        return 0
    return _foreground(g, options)


def _foreground(g: Globals, options: Parsed) -> int:
    if not options.no_subreaper:
        set_child_subreaper(True)
    report = wanted_report(options.cap_audit)
    audit = report.audit if report is not None else None
    container, terminal, watch = create.create_container(g, options, detached=False, starts=True, audit=audit)
    with Undo() as undo:
        undo.push(lambda: destroy_once(container))
        _signal.pthread_sigmask(_signal.SIG_BLOCK, FORWARDED)  # until stay(): they are for the program
        start(container, foreground=True)
        from ocirt.process.foreground import destroy_ended, stay  # the container runs already meanwhile

        code = stay(container.pid, terminal)
        undo.keep()
    if not options.keep:
        destroy_ended(container)
    if watch is not None:
        watch.finish()
    if report is not None:
        report.write()
    return code


def wanted_report(path: str) -> AuditReport | None:
    """Of the capabilities that are asked for.  Raises OSError when it could not be written."""
    if not path:
        return None
    from ocirt.process.cap_audit import AuditReport

    return AuditReport(create.absolute(path))
