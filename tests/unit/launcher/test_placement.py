"""Where the native launcher's memory is put, and the profile that says what is used of it."""

from __future__ import annotations

import struct

from ocirt.launcher.placement import HEADER, Block, Owner, places, read, stale, write

OWNERS = {
    "python": Owner("0123456789abcdef", (Block(3, 64, 0b11, 0), Block(900, 4112, 0b1, 0b10))),
    "ocirt.cli": Owner("fedcba9876543210", (Block(0, 48, 0b10, 0b1), Block(1, 32, 0, 0b11), Block(2, 160, 0b11, 0))),
    "ocirt.log": Owner("0" * 16, ()),
}
DIGESTS = {name: owner.digest for name, owner in OWNERS.items()}
NUMBERS = {"python": 0, "ocirt.cli": 5, "ocirt.log": 6}


def placed(owners: dict[str, Owner], digests: dict[str, str]) -> tuple[int, dict[tuple[int, int], tuple[int, int]]]:
    """The size of all, and (owner's number, index) -> (size, offset), in the order of image.c."""
    packed = places(owners, digests, NUMBERS)
    end, count, _ = struct.unpack_from("QQQ", packed)
    found = list(struct.iter_unpack("4I", packed[24:]))
    assert len(found) == count
    assert found == sorted(found)
    return end, {(owner, index): (size, offset) for owner, index, size, offset in found}


def test_a_profile_is_read_as_it_was_written() -> None:
    assert read(write(OWNERS)) == OWNERS


def test_a_long_profile_has_short_lines() -> None:
    owners = {"ocirt.cli": Owner("f" * 16, tuple(Block(number, 16 * number, number, 0) for number in range(1, 2000)))}
    text = write(owners)
    assert max(map(len, text.splitlines())) <= 120
    assert read(text) == owners


def test_what_the_most_write_to_comes_first_and_what_is_only_read_last() -> None:
    end, found = placed(OWNERS, DIGESTS)
    assert [place for place, _ in sorted(found.items(), key=lambda item: item[1][1])] == [
        (0, 3),  # both processes write to it
        (5, 2),
        (5, 0),  # one
        (0, 900),  # larger than a page
        (5, 1),  # only read
    ]
    assert end == 64 + 160 + 48 + 4112 + 32 + 5 * HEADER


def test_how_much_most_commands_write_to_is_said() -> None:
    blocks = (
        Block(0, 160, 0b111111, 0),
        Block(1, 48, 0b11, 0),  # a third of those
        Block(2, 64, 0b1, 0b111111),
        Block(3, 8000, 0b111111, 0),  # of a larger one little is written to
        Block(4, 80, 0, 0b1),
    )
    packed = places({"python": Owner("d", blocks)}, {"python": "d"}, NUMBERS)
    assert struct.unpack_from("QQQ", packed) == (160 + 48 + 64 + 8000 + 80 + 5 * HEADER, 5, 160 + 48 + 2 * HEADER)


def test_no_two_places_overlap() -> None:
    end, found = placed(OWNERS, DIGESTS)
    taken = sorted((offset, offset + HEADER + size) for size, offset in found.values())
    assert taken[0][0] == 0
    assert [start for start, _ in taken[1:]] == [stop for _, stop in taken[:-1]]
    assert taken[-1][1] == end


def test_a_module_that_has_changed_has_no_places() -> None:
    changed = {**DIGESTS, "ocirt.cli": "another"}
    assert list(stale(OWNERS, changed)) == ["ocirt.cli"]
    assert placed(OWNERS, changed)[1].keys() == {(0, 3), (0, 900)}
