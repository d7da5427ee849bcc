"""Tests of arguments: which spans of values pass, and the instructions that find out.

All comparisons are unsigned.  A filter sees an argument as two 32-bit words, and a 32-bit ABI has
the low one only.  In every function here `yes` and `no` are labels of what follows.
"""

from __future__ import annotations

from ocirt.seccomp.bpf import AND, EQUAL, LOW_WORD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.seccomp.bpf import Program
    from ocirt.seccomp.profile import Test, Tests
    from ocirt.seccomp.sections import Choice

    Spans = list[tuple[int, int]]  # (first, last) of the values that pass
    Marks = list[tuple[int, int]]  # (first value, label that holds from there on), ascending from 0


def put_choice(program: Program, choice: Choice, default: int) -> int:
    """Write the tests of one system call.  Returns the label of their start."""
    alternatives, bits = choice.alternatives, choice.bits
    no = program.give(default)
    end = len(alternatives)
    while end:
        tests, action = alternatives[end - 1]
        start = end - 1
        # Neighbours that test one argument for one action become one search: docker's list of 40
        # socket families is 45 instructions instead of 160.
        while start and alternatives[start - 1][1] == action and _alike(alternatives[start - 1][0], tests):
            start -= 1
        yes = program.give(action)
        no = program.near(no)
        if end - start > 1:
            spans = [span for (test,), _action in alternatives[start:end] for span in spans_of(test, bits)]
            no = put_spans(program, tests[0][0], spans, bits, yes, no)
        else:
            no = put_rule(program, tests, bits, yes, no)
        end = start
    return no


def put_rule(program: Program, tests: Tests, bits: int, yes: int, no: int) -> int:
    """All tests must pass."""
    for test in reversed(tests):
        index, op, value, mask = test
        if op == "MASKED_EQ":
            yes = put_masked(program, index, value, mask, bits, yes, no)
        else:
            yes = put_spans(program, index, spans_of(test, bits), bits, yes, no)
    return yes


def put_masked(program: Program, index: int, value: int, mask: int, bits: int, yes: int, no: int) -> int:
    """argument & mask == value; a word whose mask is 0 always passes."""
    for high in (False, True):
        word_mask = mask >> 32 if high else mask & LOW_WORD
        if not word_mask or (high and bits == 32):
            continue
        yes = program.branch(EQUAL, value >> 32 if high else value & LOW_WORD, yes, no)
        if word_mask != LOW_WORD:
            yes = program.put(AND, word_mask)
        yes = program.load(program.half(index, high=high), yes)
    return yes


def put_spans(program: Program, index: int, spans: Spans, bits: int, yes: int, no: int) -> int:
    """The argument lies in one of the spans."""
    joined: Spans = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(last, joined[-1][1])
        elif first <= last:
            joined.append((first, last))
    marks: Marks = [(0, no)]
    for first, last in joined:
        if first == 0:
            marks.clear()
        marks.append((first, yes))
        if last < (1 << bits) - 1:
            marks.append((last + 1, no))
    return _put_marks(program, index, marks, bits)


def _put_marks(program: Program, index: int, marks: Marks, bits: int) -> int:
    """goto the label of the last mark that is not above the argument."""
    if len(marks) == 1:
        return marks[0][1]
    if bits == 32:
        found = program.search([m[0] for m in marks], [m[1] for m in marks], 0, len(marks))
        return program.load(program.half(index, high=False), found)
    tops: Marks = []
    for top in sorted({0} | {first + next_word >> 32 for first, _label in marks for next_word in (0, LOW_WORD + 1)}):
        label = [label for first, label in marks if first <= top << 32][-1]
        within = [(first & LOW_WORD, label) for first, label in marks if first >> 32 == top and first & LOW_WORD]
        label = _put_marks(program, index, [(0, label), *within], 32)
        if top <= LOW_WORD and (not tops or tops[-1][1] != label):
            tops.append((top, label))
    if len(tops) == 1:
        return tops[0][1]
    found = program.search([m[0] for m in tops], [m[1] for m in tops], 0, len(tops))
    return program.load(program.half(index, high=True), found)


def spans_of(test: Test, bits: int) -> Spans:
    """The values that pass the test, which is not MASKED_EQ.  A span with last < first is empty."""
    _index, op, value, _mask = test
    largest = (1 << bits) - 1
    if op == "EQ":
        return [(value, value)]
    if op == "NE":
        return [(0, value - 1), (value + 1, largest)]
    if op == "LT":
        return [(0, value - 1)]
    if op == "LE":
        return [(0, value)]
    if op == "GT":
        return [(value + 1, largest)]
    return [(value, largest)]  # GE


def _alike(tests: Tests, other: Tests) -> bool:
    """Both are one test, other than MASKED_EQ, of the same argument."""
    return (
        len(tests) == 1
        and len(other) == 1
        and tests[0][0] == other[0][0]
        and tests[0][1] != "MASKED_EQ"
        and other[0][1] != "MASKED_EQ"
    )
