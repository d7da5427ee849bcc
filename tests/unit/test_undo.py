"""Whatever fails, and wherever: what a plan's steps have done is taken back, the last first."""

from __future__ import annotations

import errno

from hypothesis import given, settings
from hypothesis import strategies as st

from ocirt.box import Box
from ocirt.errors import OcirtError
from ocirt.pipeline import HOST, Stage, Step, Undo, run

State = dict[str, int]


class Change(Step):
    """Sets some names, and may fail before one of them; its undo puts back what it found, and may complain after it."""

    __slots__ = ("complains", "fails_at", "found", "state", "values")

    def __init__(self, state: State, values: State, fails_at: int | None, complains: bool) -> None:
        self.at = ""
        self.state = state
        self.values = values
        self.fails_at = fails_at
        self.complains = complains
        self.found: list[tuple[str, int | None]] = []

    def describe(self) -> str:
        return f"set {self.values}"

    def apply(self, box: Box) -> None:
        for number, (name, value) in enumerate(self.values.items()):
            if number == self.fails_at:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.found.append((name, self.state.get(name)))
            self.state[name] = value
        if self.fails_at is not None:
            raise OcirtError("cgroup", "no")

    def undo(self, box: Box) -> None:
        for name, value in reversed(self.found):
            if value is None:
                del self.state[name]
            else:
                self.state[name] = value
        if self.complains:
            raise OSError(errno.EBUSY, "Device or resource busy")


CHANGES = st.tuples(
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 9), max_size=3),
    st.one_of(st.none(), st.none(), st.integers(0, 3)),
    st.booleans(),
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abcd"), st.integers(0, 9)), st.lists(st.lists(CHANGES, max_size=4), max_size=4))
def test_all_is_as_before_or_all_is_done(before: State, parts: list[list[tuple[State, int | None, bool]]]) -> None:
    state = dict(before)
    stages = [Stage(f"s{i}", HOST, [Change(state, *change) for change in part]) for i, part in enumerate(parts)]
    failed = None
    try:
        with Undo() as undo:
            run(stages, Box(None), undo)  # type: ignore[arg-type]
            undo.keep()
    except OcirtError as error:
        failed = error
    assert (failed is not None) == any(fails_at is not None for part in parts for _, fails_at, _ in part)
    wanted = dict(before)
    if failed is None:
        for part in parts:
            for values, _, _ in part:
                wanted |= values
    assert state == wanted
