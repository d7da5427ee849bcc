"""A short run of every target in every test run: all seeds, and mutants of them that are the same each time."""

from __future__ import annotations

import contextlib
import json
import os
from random import Random

import pytest

from tests.fuzz import targets
from tests.support.mutation import mutated

MUTANTS = 300
PIECES = (b"\0", b"\n", b"\xff", b'"', b"\\", b"\\u0000", b"[", b"{", b"-", b"18446744073709551616", b"\xe2\x80\xa8")


def mutant(seed: bytes, random: Random) -> bytes:
    """One change to the value when it is JSON, else up to four to the bytes."""
    if random.random() < 0.5:
        with contextlib.suppress(ValueError, RecursionError):
            return json.dumps(mutated(json.loads(seed), random)).encode()
    data = bytearray(seed)
    for _ in range(random.randrange(1, 5)):
        start = random.randrange(len(data) + 1)
        end = min(len(data), start + random.choice((0, 0, 1, 1, 4, 64)))
        data[start:end] = random.choice((random.choice(PIECES), random.randbytes(2), bytes(data[start:end]) * 2))
    return bytes(data)


@pytest.mark.parametrize("name", targets.TARGETS)
def test_whatever_the_bytes_they_are_read_or_refused_with_a_code(name: str) -> None:
    random = Random(name)
    seeds = targets.seeds(name)
    assert seeds
    before = os.listdir("/proc/self/fd")
    for seed in seeds:
        targets.run(name, seed)
    for _ in range(MUTANTS):
        data = mutant(random.choice(seeds), random)
        try:
            targets.run(name, data)
        except Exception as find:
            raise AssertionError(data) from find
    assert os.listdir("/proc/self/fd") == before


def test_a_find_is_one() -> None:
    """The oracle itself: what is no refusal comes through."""
    with pytest.raises(AttributeError):
        targets.TARGETS["passwd"](None)  # type: ignore[arg-type]
