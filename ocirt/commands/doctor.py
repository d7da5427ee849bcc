"""ocirt doctor: what is wrong with this machine, or what one container waits for, and the line that mends it."""

from __future__ import annotations

from ocirt import colours, log
from ocirt.config import jsontext
from ocirt.errors import UsageError
from ocirt.options import VALUE, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.doctor import Finding
    from ocirt.options import Globals, Parsed

SUMMARY = "say what is wrong with the machine or a container, and how to mend it"
ARGUMENTS = "[container-id]"
OPTIONS = (Option("format", "f", VALUE, '"text" (default) or "json"', "FORMAT"),)
MAX_ARGS = 1


def main(g: Globals, options: Parsed) -> int:
    """0 when nothing is wrong, 1 when something is."""
    if options.format not in ("", "text", "json"):
        raise UsageError("invalid format option")
    document: dict[str, Any] = {}
    if options.args:
        found, document = _container(g, options.args[0])
    else:
        from ocirt.doctor import host
        from ocirt.host import probe_host

        found = host.findings(probe_host(), g.root)
    if options.format == "json":
        document["findings"] = [
            {"subject": one.subject, "fine": one.fine, "what": one.what, "mend": one.mend} for one in found
        ]
        log.show(jsontext.dump(document, 2) + "\n")
    else:
        log.show(_text(found, document, colours.wanted(log.STDOUT)))
    return int(not all(one.fine for one in found))


def _container(g: Globals, container_id: str) -> tuple[list[Finding], dict[str, Any]]:
    from ocirt import system as os
    from ocirt.container import Container
    from ocirt.doctor import container as patient

    container = Container.load(g.root, container_id)
    processes = patient.processes(container, os.uname().machine)
    app = f"{g.app} --root {g.root}" if g.root_given else g.app
    document = {
        "id": container_id,
        "status": container.status(),
        "processes": [process.document() for process in processes],
    }
    return patient.findings(container, app, processes), document


def _text(found: list[Finding], document: dict[str, Any], colour: bool) -> str:
    """A line each, what is wrong with the line that mends it below; then the processes."""
    width = max(len(one.subject) for one in found)
    lines = []
    for one in found:
        verdict = colours.paint("ok   ", "green", colour) if one.fine else colours.paint("WRONG", "red", colour)
        lines.append(f"{verdict}  {log.printable(f'{one.subject.ljust(width)}  {one.what}')}")
        if one.mend:
            lines.append(log.printable(f"{' ' * (width + 9)}-> {one.mend}"))
    for process in document.get("processes", ()):
        call = " ".join(word for word in (process["syscall"], process["wchan"]) if word)
        line = f"{process['pid']}  {process['role']}  {process['state']}  {call or '-'}  {process['command']}"
        lines.append(log.printable(line))
    return "".join(f"{line}\n" for line in lines)
