"""The seccomp compiler."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.config.views import Seccomp


def notifies(wanted: Seccomp) -> bool:
    """Whether the filter has a listener, for the agent at listenerPath."""
    return bool(wanted.listener_path) and any(rule.action == "SCMP_ACT_NOTIFY" for rule in wanted.syscalls)
