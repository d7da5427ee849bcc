"""The process that enters existing namespaces and gives birth to init inside them.

It exists only where the kernel forces one: joining a pid or time namespace takes effect in children
only, a user namespace must be joined before what it will own is made, and the runtime itself must
stay outside to run hooks and to clean up.  init is cloned with CLONE_PARENT, so that the runtime is
its parent, and the joiner vanishes.
"""

from __future__ import annotations

from ocirt import log
from ocirt import system as os
from ocirt.channel import PID
from ocirt.kernel.flags import CLONE_PARENT
from ocirt.pipeline import JOINER, run
from ocirt.process import birth, init

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from ocirt.box import Box
    from ocirt.channel import Channel
    from ocirt.pipeline import Plan, Stage


def main(stages: tuple[Stage, ...], plan: Plan, box: Box, theirs: Channel, channel: Channel) -> NoReturn:
    """Never returns.  Sends PID, or ERROR when a namespace cannot be entered."""
    try:
        if log.tracer is not None:
            log.tracer.become(JOINER)
        init.seal()
        run(stages, box)
        log.phase("give birth to init")
        pid, outside = birth.clone(box, plan.clone_flags | CLONE_PARENT)
        if pid == 0:
            init.main(plan, box, theirs, channel)
        channel.send(PID, str(pid), birth.OUTSIDE if outside else "")
        os._exit(0)
    except BaseException as error:
        channel.send_error(error)
    finally:
        os._exit(1)
