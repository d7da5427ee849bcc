"""The container's side: from birth by clone3 to execve.  Nothing is imported here after main() is entered."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the public module imports enum: 4 ms
import sys

from ocirt import log
from ocirt import system as os
from ocirt.box import START_SOCKET
from ocirt.channel import ASK, GO, READY, SAVED, accept
from ocirt.pipeline import ENDING_SIGNALS, INIT, START, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from ocirt.box import Box
    from ocirt.channel import Channel
    from ocirt.pipeline import Plan
    from ocirt.process.birth import NetworkAhead

SIGKILL = 9


def main(plan: Plan, box: Box, theirs: Channel, channel: Channel, network: NetworkAhead | None = None) -> NoReturn:
    """Never returns, and nothing above it may run in this process: it ends by execve or _exit.

    theirs is the runtime's end, closed here: a dead runtime must be seen as the end of the conversation.
    network: the namespace to enter that init is not born in.
    """
    try:
        if log.tracer is not None:
            log.tracer.become(INIT)
        theirs.close()
        box.channel = channel
        box.pid = 0
        box.kernel.set_pdeathsig(SIGKILL)
        log.relay(channel.send_log)
        if network is not None:
            network.enter()
        seal()
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, ENDING_SIGNALS)
        log.phase("wait for GO")
        channel.expect(GO)
        run(plan.part(INIT), box)
        # Before READY, for the runtime may end as soon as it has answered.  Should it die in between,
        # the end of the channel tells.
        log.phase("say READY, and wait for the record")
        box.kernel.set_pdeathsig(0)
        channel.send(READY)
        if not plan.executes_at_once:
            channel.expect(SAVED)
            log.phase("wait for start")
            channel.close()
            channel = box.channel = accept(box.fds[START_SOCKET])
            log.relay(channel.send_log)
        channel.expect(GO)
        run(plan.part(START), box)
    except BaseException as error:
        try:
            channel.send_error(error)
            stay_to_be_looked_at(box, channel)
        except OSError:
            pass  # the runtime is gone: nobody is left to tell
    finally:
        os._exit(1)


def stay_to_be_looked_at(box: Box, channel: Channel) -> None:
    """Until the runtime ends the conversation: it may look for the cause in our root, and can ask for that where only
    we may open it.  A filter that refuses these calls, or ends us for them, costs the cause and not the error."""
    while channel.receive().kind == ASK:
        box.kernel.send_fd(channel.fileno(), b"root", os.open("/", os.O_PATH | os.O_CLOEXEC))


def seal() -> None:
    """Empty the import system.

    After pivot_root or setns the next file an import finds belongs to the container: it would run as
    the runtime, with its privileges.  A forgotten import must fail instead.
    """
    sys.meta_path.clear()
    sys.path_hooks.clear()
    sys.path.clear()
    sys.path_importer_cache.clear()
