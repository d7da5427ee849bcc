"""All checks, and what came of them as a table for people or as one JSON document."""

from __future__ import annotations

import os

from ocirt import __version__
from ocirt.host import Host, probe_host
from ocirt.probe import Check, Outcome, cgroups, mounts, namespaces, process
from ocirt.probe.attempt import attempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def all_checks(host: Host) -> tuple[Check, ...]:
    """In the order of a container's life."""
    return (
        *namespaces.checks(),
        *cgroups.checks(host, f"ocirt-probe-{os.urandom(6).hex()}"),
        *mounts.checks(),
        *process.checks(host),
    )


def try_all() -> tuple[Host, list[Outcome]]:
    host = probe_host()
    return host, [attempt(check) for check in all_checks(host)]


def machine(host: Host) -> dict[str, Any]:
    """Who asked, and where."""
    return {
        "ocirt": __version__,
        "kernel": os.uname().release,
        "machine": host.machine,
        "euid": host.euid,
        "userNamespace": host.userns,
        "cgroup": host.cgroup,
        "systemd": host.systemd,
    }


def document(host: Host, outcomes: list[Outcome]) -> dict[str, Any]:
    """{"host": {...}, "checks": [{"name", "works", "property", "note"}, ...]}; property and note "" for none."""
    return {
        "host": machine(host),
        "checks": [
            {"name": outcome.name, "works": outcome.works, "property": outcome.at, "note": outcome.note}
            for outcome in outcomes
        ],
    }


def table(host: Host, outcomes: list[Outcome]) -> str:
    """A line for each check; the first one says who asked, the last one how many do not work."""
    rows = [("CHECK", "WORKS", "PROPERTY", "NOTE")]
    rows += [(one.name, "yes" if one.works else "no", one.at or "-", one.note) for one in outcomes]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join([*map(str.ljust, row, widths), row[3]]).rstrip() for row in rows]
    who = "root" if host.euid == 0 else f"user {host.euid}"
    where = ", in a user namespace" if host.userns else ""
    head = f"Linux {os.uname().release} on {host.machine}, {who}{where}\n"
    failed = sum(not one.works for one in outcomes)
    return head + "\n".join(lines) + f"\n{len(outcomes) - failed} of {len(outcomes)} work here\n"
