"""A kernel that only writes down what it is asked for: stands where ocirt.kernel.live does, in box.kernel."""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING, Any, cast

from ocirt.box import Box
from ocirt.errors import KernelError
from ocirt.kernel import live

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


def kernel_error(errno: int, call: str = "") -> KernelError:
    """What a call of ocirt.kernel raises for errno."""
    return KernelError(errno, os.strerror(errno), call)


class Recorder:
    """calls: [(name, argument, ...)] in order; keyword arguments follow as (keyword, value).

    Recorder(setns=None, openat2=7, read=[b"text", b""], execve=kernel_error(ENOEXEC)) answers with these: a
    list is answered one by one, an exception is raised, a function is called with the arguments.
    Everything else answers None.  A name that ocirt.kernel.live does not have is an AttributeError, and
    arguments that its function would not take are a TypeError, so a test cannot agree with a typo.
    """

    def __init__(self, **answers: Any) -> None:
        self.calls: list[tuple[Any, ...]] = []
        for name in answers:
            getattr(live, name)
        self._answers = {name: list(answer) if isinstance(answer, list) else answer for name, answer in answers.items()}

    def names(self) -> list[str]:
        return [call[0] for call in self.calls]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        real = getattr(live, name)

        def call(*arguments: Any, **keywords: Any) -> Any:
            _check(real, arguments, keywords)
            self.calls.append((name, *arguments, *keywords.items()))
            answer = self._answers.get(name)
            if isinstance(answer, list):
                answer = answer.pop(0)
            if isinstance(answer, BaseException):
                raise answer
            return answer(*arguments, **keywords) if callable(answer) else answer

        return call


def _check(real: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
    try:
        signature = inspect.signature(real)
    except ValueError:  # some functions of os do not tell
        return
    signature.bind(*arguments, **keywords)


def recorded_box(**answers: Any) -> tuple[Box, Recorder]:
    """A Box before a recorder, with descriptors that cannot be mistaken for real ones."""
    recorder = Recorder(**answers)
    box = Box(cast("ModuleType", recorder))
    box.proc = 1001
    box.root = 1002
    return box, recorder
