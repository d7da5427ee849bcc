"""Hooks as steps: who runs them and when (config.md, POSIX-platform Hooks).

User documentation: posix_spawn(3).
"""

from __future__ import annotations

from ocirt import system as os
from ocirt.config import jsontext
from ocirt.hooks import hook_calls, run_program
from ocirt.pipeline import ANSWER, INIT, Step
from ocirt.stages.ask import Ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from ocirt.box import Box
    from ocirt.config.views import Hook, Hooks
    from ocirt.hooks import HookCall

HOOKS = "hooks"  # the question to the runtime, and so the name of the stage that answers
PID_PLACE = "@pid@"


class RunHook(Step):
    """Run one hook to its end.  state: JSON text of the container's state with PID_PLACE where the pid goes."""

    __slots__ = ("call", "seconds", "state")

    def __init__(self, call: HookCall, state: str) -> None:
        self.at = call.at
        self.seconds = call.timeout
        self.call = call
        self.state = state

    def describe(self) -> str:
        return self.call.describe()

    def apply(self, box: Box) -> None:
        pid = box.pid or os.getpid()
        run_program(self.call, self.state.replace(f'"{PID_PLACE}"', str(pid), 1).encode())


def state_text(state: dict[str, Any], status: str) -> str:
    """The state of runtime.md as compact JSON, its pid still to be filled in."""
    return jsontext.dump({**state, "status": status, "pid": PID_PLACE})


def run_hooks(kind: str, hooks: Iterable[Hook], state: str) -> Iterator[Step]:
    for call in hook_calls(kind, hooks):
        yield RunHook(call, state)


def hooks(place: str, wanted: Hooks, state: dict[str, Any]) -> Iterator[Step]:
    """The hooks that run at this place.

    INIT, between the mounts and pivot_root: ask the runtime for its own, then createContainer.
    ANSWER: what the runtime does then.  START, in the container, before the user's program: startContainer.
    state: as in runtime.md, without status and pid.
    """
    if place == INIT:
        if wanted.prestart or wanted.create_runtime:
            yield Ask("/hooks", HOOKS)
        yield from run_hooks("createContainer", wanted.create_container, state_text(state, "creating"))
    elif place == ANSWER:
        # prestart is of the time when it ran in `start`, on a created container; hooks of that time may look for it.
        yield from run_hooks("prestart", wanted.prestart, state_text(state, "created"))
        yield from run_hooks("createRuntime", wanted.create_runtime, state_text(state, "creating"))
    else:
        yield from run_hooks("startContainer", wanted.start_container, state_text(state, "created"))
