"""Hooks as steps: who runs them and when (config.md, POSIX-platform Hooks)."""

from __future__ import annotations

import os

from ocirt.channel import ASK, DONE
from ocirt.config import jsontext
from ocirt.hooks import hook_calls, run_hook
from ocirt.pipeline import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from ocirt.box import Box
    from ocirt.config.views import Hook, Hooks
    from ocirt.hooks import HookCall

HOOKS = "hooks"
PID_PLACE = "@pid@"


class AskForHooks(Step):
    """Init waits here while the runtime, in its own namespaces, runs prestart and createRuntime."""

    __slots__ = ()

    def __init__(self) -> None:
        self.at = "/hooks"

    def describe(self) -> str:
        return "ask the runtime for prestart and createRuntime hooks"

    def apply(self, box: Box) -> None:
        box.channel.send(ASK, HOOKS)
        box.channel.expect(DONE)


class RunHook(Step):
    """state: JSON text of the container's state with PID_PLACE where the pid goes."""

    __slots__ = ("call", "state")

    def __init__(self, call: HookCall, state: str) -> None:
        self.at = call.at
        self.call = call
        self.state = state

    def describe(self) -> str:
        return self.call.describe()

    def apply(self, box: Box) -> None:
        pid = box.pid or os.getpid()
        run_hook(self.call, self.state.replace(f'"{PID_PLACE}"', str(pid), 1).encode())


def state_text(state: dict[str, Any], status: str) -> str:
    """The state of runtime.md as compact JSON, its pid still to be filled in."""
    return jsontext.dump({**state, "status": status, "pid": PID_PLACE})


def run_hooks(kind: str, hooks: Iterable[Hook], state: str) -> Iterator[Step]:
    for call in hook_calls(kind, hooks):
        yield RunHook(call, state)


def runtime_hooks(hooks: Hooks | None, state: dict[str, Any]) -> Iterator[Step]:
    """The runtime's answer to AskForHooks."""
    if hooks is not None:
        text = state_text(state, "creating")
        yield from run_hooks("prestart", hooks.prestart, text)
        yield from run_hooks("createRuntime", hooks.create_runtime, text)


def create_hooks(hooks: Hooks | None, state: dict[str, Any]) -> Iterator[Step]:
    """INIT, between the mounts and pivot_root."""
    if hooks is None:
        return
    if hooks.prestart or hooks.create_runtime:
        yield AskForHooks()
    yield from run_hooks("createContainer", hooks.create_container, state_text(state, "creating"))


def start_hooks(hooks: Hooks | None, state: dict[str, Any]) -> Iterator[Step]:
    """START, in the container, before the user's program."""
    if hooks is not None:
        yield from run_hooks("startContainer", hooks.start_container, state_text(state, "created"))
