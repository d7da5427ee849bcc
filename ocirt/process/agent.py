"""`start` and the seccomp agent: with no_new_privs the filter, and so its listener, comes last before execve."""

from __future__ import annotations

from ocirt import log
from ocirt.channel import EOF, EXECUTES
from ocirt.errors import OcirtError
from ocirt.pipeline import ANSWER, Stage, run
from ocirt.process.lifecycle import SIGKILL, execute, new_box
from ocirt.seccomp import notifies
from ocirt.stages.listener import AGENT_DEADLINE, listener, silent_agent
from ocirt.stages.seccomp import LISTENER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.channel import Channel, Record
    from ocirt.config.views import Config, Seccomp
    from ocirt.container import Container


def execute_with_agent(container: Container, config: Config, conversation: Channel) -> Record:
    """lifecycle.execute(), which sends the listener on when init asks.

    Raises OcirtError, OSError; then init is killed, for it may wait in a call that nobody answers.
    """
    linux, process = config.linux, config.process
    if linux is None or linux.seccomp is None or process is None or not notifies(linux.seccomp):
        return execute(conversation)
    try:
        if process.no_new_privileges:
            return _hand_over(container, linux.seccomp, conversation)
        if config.hooks is None or not config.hooks.start_container:  # these run for as long as they like
            error = silent_agent(linux.seccomp.listener_path or "", f"{linux.seccomp.at}/listenerPath")
            conversation.bound = AGENT_DEADLINE, error
        return execute(conversation)
    except (OSError, OcirtError):
        container.send_signal(SIGKILL)
        raise


def _hand_over(container: Container, wanted: Seccomp, conversation: Channel) -> Record:
    box = new_box()
    box.channel = conversation
    box.pid = container.pid
    stage = Stage(LISTENER, ANSWER, listener(wanted, container.state("created")))

    def answer(record: Record) -> None:
        question, *number = record.fields
        box.facts[question] = "".join(number)
        run((stage,), box)
        log.phase("wait for init, which has its answer")

    record = execute(conversation, answer)
    if record.kind in (EXECUTES, EOF) and LISTENER not in box.facts:
        what = "container init died before the seccomp agent had its listener"
        raise OcirtError("init-died", what, at=stage.steps[0].at, remedy="the profile must allow the write syscall")
    return record
