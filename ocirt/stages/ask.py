"""Init waits while the runtime, with its own rights and in its own namespaces, does a part of the plan.

User documentation: unix(7), SOCK_SEQPACKET.
"""

from __future__ import annotations

from ocirt.channel import ASK, DONE
from ocirt.pipeline import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.box import Box


class Ask(Step):
    """Ask, and wait for the answer.  question: the name of the stage, place ANSWER, that answers it."""

    __slots__ = ("question",)

    def __init__(self, at: str, question: str) -> None:
        self.at = at
        self.question = question

    def describe(self) -> str:
        return f"ask the runtime for its part: {self.question}"

    def apply(self, box: Box) -> None:
        box.channel.send(ASK, self.question)
        box.channel.expect(DONE)
