"""The wire format against the protocol buffers library and CRIU's own rpc.proto (MIT; of CRIU 4.2)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from ocirt.criu import wire
from ocirt.criu.wire import FLAG, MESSAGES, NUMBER, TEXT, decode, encode
from ocirt.errors import OcirtError

PROTO = re.sub(r"/\*.*?\*/", "", Path(__file__).with_name("rpc.proto").read_text(), flags=re.DOTALL)
Field = descriptor_pb2.FieldDescriptorProto
LABELS = {"optional": Field.LABEL_OPTIONAL, "required": Field.LABEL_REQUIRED, "repeated": Field.LABEL_REPEATED}
TYPES = {
    "int32": Field.TYPE_INT32,
    "uint32": Field.TYPE_UINT32,
    "bool": Field.TYPE_BOOL,
    "string": Field.TYPE_STRING,
}
ENUMS = {
    name: {key: int(value) for key, value in re.findall(r"(\w+)\s*=\s*(\d+)", body)}
    for name, body in re.findall(r"enum (\w+) \{(.*?)\}", PROTO, re.DOTALL)
}
FIELDS = {
    name: re.findall(r"(optional|required|repeated)\s+(\w+)\s+(\w+)\s*=\s*(\d+)", body)
    for name, body in re.findall(r"message (\w+) \{(.*?)\}", PROTO, re.DOTALL)
}


def library() -> dict[str, Any]:
    """The messages of rpc.proto as classes of the library."""
    file = descriptor_pb2.FileDescriptorProto(name="rpc.proto", syntax="proto2")
    for enum, values in ENUMS.items():
        entry = file.enum_type.add(name=enum)
        for key, value in values.items():
            entry.value.add(name=key, number=value)
    for message, fields in FIELDS.items():
        entry = file.message_type.add(name=message)
        for label, kind, name, number in fields:
            field = entry.field.add(name=name, number=int(number), label=LABELS[label])
            if kind in TYPES:
                field.type = TYPES[kind]
            else:
                field.type = Field.TYPE_ENUM if kind in ENUMS else Field.TYPE_MESSAGE
                field.type_name = f".{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = {name: pool.FindMessageTypeByName(name) for name in FIELDS}
    return {name: message_factory.GetMessageClass(descriptor) for name, descriptor in found.items()}


LIBRARY = library()


@pytest.mark.parametrize("message", MESSAGES)
def test_the_table_says_what_rpc_proto_says(message: str) -> None:
    expected = {name: (int(number), kind) for _, kind, name, number in FIELDS[message]}
    for name, (number, kind) in MESSAGES[message].items():
        ours = {"bool": FLAG, "string": TEXT}.get(expected[name][1])
        if ours is None:
            ours = expected[name][1] if expected[name][1] in FIELDS else NUMBER
        assert (number, kind) == (expected[name][0], ours), name


def test_the_kinds_of_requests() -> None:
    names = ("DUMP", "RESTORE", "PRE_DUMP", "NOTIFY", "FEATURE_CHECK", "VERSION")
    assert {name: getattr(wire, name) for name in names} == {name: ENUMS["criu_req_type"][name] for name in names}


def sample(message: str, number: int) -> dict[str, Any]:
    """A value for each field of the table, another one for each number."""
    values: dict[str, Any] = {}
    for name, (_, kind) in MESSAGES[message].items():
        if kind == NUMBER:
            values[name] = 3 if name == "type" else [0, 1, 127, 128, 300, 2**31 - 1, 2][number]
        elif kind == FLAG:
            values[name] = number % 2 == 0
        elif kind == TEXT:
            values[name] = ["", "a", "mnt[/ü]:/b", "x" * 127, "y" * 128, "z" * 70000, "\n"][number]
        else:
            values[name] = sample(kind, number)
    for name in ("manage_cgroups_mode", "network_lock"):
        if name in values:
            values[name] = 1  # the library refuses numbers that are none of the enumeration's
    return values


def as_library(message: str, values: dict[str, Any]) -> Any:
    """The same in the library's object."""
    made = LIBRARY[message]()
    for name, value in values.items():
        field = getattr(made, name)
        repeated = any(label == "repeated" and field_name == name for label, _, field_name, _ in FIELDS[message])
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict):
                kind = MESSAGES[message][name][1]
                (field.add() if repeated else field).CopyFrom(as_library(kind, item))
            elif repeated:
                field.append(item)
            else:
                setattr(made, name, item)
    return made


@pytest.mark.parametrize("number", range(7))
@pytest.mark.parametrize("message", ["criu_req", "criu_resp", "criu_opts"])
def test_the_library_reads_what_we_write_and_we_what_it_writes(message: str, number: int) -> None:
    values = sample(message, number)
    theirs = as_library(message, values)
    read = LIBRARY[message]()
    read.ParseFromString(encode(message, values))
    assert read == theirs
    assert decode(message, theirs.SerializeToString()) == values


def test_lists() -> None:
    values = {"external": ["mnt[/a]:/a", "mnt[/b]:/b"], "inherit_fd": [{"key": "pipe:[7]", "fd": 0}], "cg_root": []}
    values |= {"images_dir_fd": 5}
    read = LIBRARY["criu_opts"]()
    read.ParseFromString(encode("criu_opts", values))
    assert list(read.external) == values["external"]
    assert [(entry.key, entry.fd) for entry in read.inherit_fd] == [("pipe:[7]", 0)]
    assert len(read.cg_root) == 0


def test_a_negative_number() -> None:
    theirs = LIBRARY["criu_resp"](type=1, success=False, cr_errno=-3)
    assert encode("criu_resp", {"type": 1, "success": False, "cr_errno": -3}) == theirs.SerializeToString()
    assert decode("criu_resp", theirs.SerializeToString())["cr_errno"] == -3


def test_a_name_that_is_not_utf_8_keeps_its_bytes() -> None:
    assert encode("criu_opts", {"root": "/\udcff"}) == b"\x6a\x02/\xff"
    assert decode("criu_opts", b"\x6a\x02/\xff") == {"root": "/\udcff"}


def test_fields_that_are_not_in_the_table_are_passed_over() -> None:
    unknown = bytes([200 << 3 & 0x7F | 0x80, 200 >> 4, 7])  # number 200, a number
    unknown += bytes([0x79, *range(8)]) + bytes([0x7D, *range(4)]) + b"\x7a\x03abc"  # number 15: 8, 4 and 3 bytes
    assert decode("criu_resp", unknown + b"\x08\x02" + unknown) == {"type": 2}


@pytest.mark.parametrize(
    "data",
    [b"\x08", b"\x08\x80", b"\x08" + b"\xff" * 11, b"\x22\x05\x08", b"\x0b", b"\x0a\x01a", b"\x20\x01", b"\x79\x00"],
    ids=["no number", "half a number", "too long a number", "too short", "a group", "text for a number", "number for a"
         " message", "half of 8 bytes"],
)  # fmt: skip
def test_what_is_no_message(data: bytes) -> None:
    with pytest.raises(OcirtError, match="no message of its protocol") as caught:
        decode("criu_resp", data)
    assert caught.value.code == "criu"
