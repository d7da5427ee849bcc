"""The messages of CRIU's rpc.proto that ocirt speaks, in the wire format of protocol buffers: pure.

MESSAGES is that file as a table, cut down to what is said here.  The whole of the format that it needs is two kinds
of field: a number (varint), and bytes with their length before them.
Source: "Encoding" of the protocol buffers documentation; images/rpc.proto of CRIU, the same from 3.15 to 4.2.
"""

from __future__ import annotations

from ocirt.errors import OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NUMBER, TEXT, FLAG = "number", "text", "flag"  # as a type; every other one is a message
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
_LONGEST_VARINT = 10  # bytes

# criu_req_type
DUMP, RESTORE, PRE_DUMP, NOTIFY, FEATURE_CHECK, VERSION = 1, 2, 4, 6, 9, 10

# message -> field -> (number, type)
MESSAGES = {
    "criu_req": {
        "type": (1, NUMBER),
        "opts": (2, "criu_opts"),
        "notify_success": (3, FLAG),
        "features": (5, "criu_features"),
    },
    "criu_resp": {
        "type": (1, NUMBER),
        "success": (2, FLAG),
        "dump": (3, "criu_dump_resp"),
        "restore": (4, "criu_restore_resp"),
        "notify": (5, "criu_notify"),
        "cr_errno": (7, NUMBER),
        "features": (8, "criu_features"),
        "cr_errmsg": (9, TEXT),
        "version": (10, "criu_version"),
    },
    "criu_opts": {
        "images_dir_fd": (1, NUMBER),
        "pid": (2, NUMBER),
        "leave_running": (3, FLAG),
        "ext_unix_sk": (4, FLAG),
        "tcp_established": (5, FLAG),
        "evasive_devices": (6, FLAG),
        "shell_job": (7, FLAG),
        "file_locks": (8, FLAG),
        "log_level": (9, NUMBER),
        "log_file": (10, TEXT),
        "ps": (11, "criu_page_server_info"),
        "notify_scripts": (12, FLAG),
        "root": (13, TEXT),
        "parent_img": (14, TEXT),
        "track_mem": (15, FLAG),
        "auto_dedup": (16, FLAG),
        "work_dir_fd": (17, NUMBER),
        "link_remap": (18, FLAG),
        "manage_cgroups": (24, FLAG),
        "cg_root": (25, "cgroup_root"),
        "rst_sibling": (26, FLAG),
        "inherit_fd": (27, "inherit_fd"),
        "manage_cgroups_mode": (34, NUMBER),
        "external": (37, TEXT),
        "empty_ns": (38, NUMBER),
        "join_ns": (39, "join_namespace"),
        "freeze_cgroup": (44, TEXT),
        "tcp_skip_in_flight": (46, FLAG),
        "lazy_pages": (48, FLAG),
        "orphan_pts_master": (50, FLAG),
        "config_file": (51, TEXT),
        "tcp_close": (52, FLAG),
        "lsm_profile": (53, TEXT),
        "cgroup_yard": (60, TEXT),
        "lsm_mount_context": (63, TEXT),
        "network_lock": (64, NUMBER),
    },
    "criu_page_server_info": {"address": (1, TEXT), "port": (2, NUMBER)},
    "cgroup_root": {"ctrl": (1, TEXT), "path": (2, TEXT)},
    "inherit_fd": {"key": (1, TEXT), "fd": (2, NUMBER)},
    "join_namespace": {"ns": (1, TEXT), "ns_file": (2, TEXT)},
    "criu_dump_resp": {"restored": (1, FLAG)},
    "criu_restore_resp": {"pid": (1, NUMBER)},
    "criu_notify": {"script": (1, TEXT), "pid": (2, NUMBER)},
    "criu_features": {"mem_track": (1, FLAG), "lazy_pages": (2, FLAG)},
    "criu_version": {"major_number": (1, NUMBER), "minor_number": (2, NUMBER), "sublevel": (4, NUMBER)},
}


def encode(message: str, values: dict[str, Any]) -> bytes:
    """values: field -> an int, a bool, a str, the values of a message, or a list of these."""
    encoded = b""
    for name, value in values.items():
        number, kind = MESSAGES[message][name]
        for item in value if isinstance(value, list) else (value,):
            if kind in (NUMBER, FLAG):
                encoded += _varint(number << 3 | _VARINT) + _varint(int(item))
            else:
                content = item.encode("utf-8", "surrogateescape") if kind == TEXT else encode(kind, item)
                encoded += _varint(number << 3 | _BYTES) + _varint(len(content)) + content
    return encoded


def decode(message: str, data: bytes) -> dict[str, Any]:
    """The known fields that are there; of one that comes twice the last.  Raises OcirtError("criu")."""
    names = {number: (name, kind) for name, (number, kind) in MESSAGES[message].items()}
    values: dict[str, Any] = {}
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        content, at = _read_content(data, at, key & 7)
        name, kind = names.get(key >> 3, ("", ""))
        if name:
            values[name] = _value(kind, content)
    return values


def _value(kind: str, content: int | bytes) -> Any:
    if isinstance(content, int) != (kind in (NUMBER, FLAG)):
        raise _broken()
    if isinstance(content, int):
        signed = content - (1 << 64) if content >> 63 else content
        return bool(content) if kind == FLAG else signed
    return content.decode("utf-8", "surrogateescape") if kind == TEXT else decode(kind, content)


def _read_content(data: bytes, at: int, wire_type: int) -> tuple[int | bytes, int]:
    """The field's number or bytes, and where the next one begins."""
    if wire_type == _VARINT:
        return _read_varint(data, at)
    if wire_type == _BYTES:
        size, at = _read_varint(data, at)
    else:
        size = _FIXED_SIZES.get(wire_type, len(data))
    if at + size > len(data):
        raise _broken()
    return data[at : at + size], at + size


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; a negative number as 64 bits of two's complement."""
    value &= (1 << 64) - 1
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place, byte in enumerate(data[at : at + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value & (1 << 64) - 1, at + place + 1
    raise _broken()


def _broken() -> OcirtError:
    return OcirtError("criu", "CRIU sent what is no message of its protocol")
