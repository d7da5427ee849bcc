"""GVariant text as D-Bus types and values."""

from __future__ import annotations

import re

import pytest

from ocirt.cgroups.gvariant import complete_types, parse


@pytest.mark.parametrize(
    ("text", "signature", "value"),
    [
        ("true", "b", True),
        ("boolean false", "b", False),
        ("30", "i", 30),
        ("-5", "i", -5),
        ("+5", "i", 5),
        ("0x1F", "i", 31),
        ("017", "i", 15),
        ("0", "i", 0),
        ("uint64 18446744073709551615", "t", 2**64 - 1),
        ("@t 5", "t", 5),
        ("byte 255", "y", 255),
        ("int16 -32768", "n", -32768),
        ("uint16 7", "q", 7),
        ("uint32 7", "u", 7),
        ("int64 -7", "x", -7),
        ("1.5", "d", 1.5),
        ("double 2", "d", 2.0),
        ("1e3", "d", 1000.0),
        ("-.5", "d", -0.5),
        ("'inactive-or-failed'", "s", "inactive-or-failed"),
        ('"it\'s"', "s", "it's"),
        (r"'a\tb\u00e4\'\\'", "s", "a\tbä'\\"),
        ("objectpath '/a/b_1'", "o", "/a/b_1"),
        ("signature 'a(ss)'", "g", "a(ss)"),
        ("['a.service', 'b.service']", "as", ["a.service", "b.service"]),
        ("[uint32 1, 2]", "au", [1, 2]),
        ("[1, 2.5]", "ad", [1.0, 2.5]),
        ("@as []", "as", []),
        ("@a(ss) [('/dev/null', 'rw')]", "a(ss)", [("/dev/null", "rw")]),
        ("[byte 1, 2]", "ay", b"\x01\x02"),
        ("b'ab'", "ay", b"ab\0"),
        ("('x', uint64 1)", "(st)", ("x", 1)),
        ("('x',)", "(s)", ("x",)),
        ("{'a': 1, 'b': 2}", "a{si}", {"a": 1, "b": 2}),
        ("@a{sv} {}", "a{sv}", {}),
        ("{'a': <uint64 1>}", "a{sv}", {"a": ("t", 1)}),
        ("<'x'>", "v", ("s", "x")),
        ("[[1], [2, 3]]", "aai", [[1], [2, 3]]),
        ("  'x'  ", "s", "x"),
    ],
)
def test_values(text: str, signature: str, value: object) -> None:
    found = parse(text)
    assert found == (signature, value)
    assert type(found[1]) is type(value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected a value instead of ''"),
        ("x", "'x' is no number"),
        ("1 2", "'2' is too much"),
        ("'abc", "without its closing '"),
        ("[1, 'a']", "a string where the type i is wanted"),
        ("[1", "expected ']' instead of ''"),
        ("{'a' 1}", "expected ':' instead of '1}'"),
        ("[]", "an empty array needs its type"),
        ("{}", "an empty dict needs its type"),
        ("()", "a structure without members"),
        ("@zz 1", "'zz' is no type"),
        ("@ii 1", "'ii' is no type"),
        ("@s 1", "a number where the type s is wanted"),
        ("byte 256", "256 is out of range for the type y"),
        ("uint32 -1", "-1 is out of range for the type u"),
        ("2147483648", "2147483648 is out of range for the type i"),
        ("uint64 " + "9" * 5000, "is no number"),
        ("1_000", "'1_000' is no number"),
        ("08", "'08' is no number"),
        ("--1", "'--1' is no number"),
        ("-+1", "'-+1' is no number"),
        ("1.5.2", "'1.5.2' is no number"),
        ("uint64 1.5", "'1.5' is no number"),
        (r"'\u12'", "wants 4 hexadecimal digits"),
        (r"'\ud800'", "is no character"),
        (r"'\u0000'", "a NUL character"),
        ("objectpath 'a'", "'a' is no object path"),
        ("objectpath '/a/'", "'/a/' is no object path"),
        ("signature 'a'", "'a' is no signature"),
        ("@(ss) ('a',)", "1 members where 2 are wanted"),
        ("@u uint64 1", "a value of type t where u is wanted"),
        ("[" * 5000, "nested too deeply"),
        ("@" + "a" * 100 + "s []", "is no type"),
        ("true1", "'true1' is no number"),
    ],
)
def test_faults(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        parse(text)


@pytest.mark.parametrize(
    ("signature", "types"),
    [
        ("", []),
        ("sa(sv)a(sa(sv))", ["s", "a(sv)", "a(sa(sv))"]),
        ("a{sv}", ["a{sv}"]),
        ("a", []),
        ("()", []),
        ("(s", []),
        ("{sv}", []),
        ("a{vs}", []),
        ("a{s}", []),
        ("a{sss}", []),
        ("h", []),
    ],
)
def test_complete_types(signature: str, types: list[str]) -> None:
    assert complete_types(signature) == types
