"""exec: the process that options make of the container's own."""

from __future__ import annotations

from typing import Any

import pytest

from ocirt.commands import exec as command
from ocirt.config.views import Process
from ocirt.errors import StateError, UsageError
from ocirt.options import Parsed, parse

OWN: dict[str, Any] = {
    "args": ["sh"],
    "cwd": "/",
    "env": ["PATH=/bin"],
    "terminal": True,
    "consoleSize": {"height": 1, "width": 2},
    "user": {"uid": 0, "gid": 7, "additionalGids": [8]},
    "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
}


def options(*words: str) -> Parsed:
    return parse(command.OPTIONS, [*words, "web1", "ls", "-l"], stop_at_positional=True)


def changed(*words: str) -> dict[str, Any]:
    return command.changed_process(OWN, options(*words))


def test_without_options_only_args_and_terminal_change() -> None:
    expected = {**OWN, "args": ["ls", "-l"], "terminal": False}
    del expected["consoleSize"]
    assert changed() == expected


def test_a_file_that_does_not_say_how_it_is_confined() -> None:
    own = {
        **OWN,
        "apparmorProfile": "docker-default",
        "selinuxLabel": "a:b:c:d",
        "oomScoreAdj": 5,
        "noNewPrivileges": True,
    }
    plain = {"args": ["sh"], "cwd": "/", "user": {"uid": 0, "gid": 0}}
    expected = {
        "capabilities": OWN["capabilities"],
        "apparmorProfile": "docker-default",
        "selinuxLabel": "a:b:c:d",
        "oomScoreAdj": 5,
    }
    assert command.confined(Process(plain), own).raw == plain | expected
    assert command.confined(Process({**plain, "apparmorProfile": ""}), own).apparmor_profile == "docker-default"
    whole = Process({**plain, "capabilities": {}, "apparmorProfile": "x", "selinuxLabel": "y", "oomScoreAdj": 0})
    assert command.confined(whole, own) is whole
    assert command.confined(Process(plain), {}).raw == plain


def test_env_is_added_and_not_split_at_commas() -> None:
    assert changed("-e", "A=1,2", "--env=B=c")["env"] == ["PATH=/bin", "A=1,2", "B=c"]


def test_capabilities_never_reach_inheritable() -> None:
    found = changed("--cap", "CAP_NET_ADMIN")["capabilities"]
    assert found["effective"] == found["bounding"] == found["permitted"] == ["CAP_KILL", "CAP_NET_ADMIN"]
    assert "inheritable" not in found
    assert "ambient" not in found


def test_capabilities_are_ambient_only_beside_inheritable_ones() -> None:
    own = {"inheritable": ["CAP_KILL"]}
    assert command.added_capabilities(own, ["CAP_CHOWN"])["ambient"] == ["CAP_CHOWN"]
    assert command.added_capabilities(own, ["CAP_CHOWN"])["inheritable"] == ["CAP_KILL"]


def test_groups_are_added() -> None:
    assert changed("-g", "5", "-g", "6")["user"] == {"uid": 0, "gid": 7, "additionalGids": [8, 5, 6]}


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("1", {"uid": 1}),
        ("1:2", {"uid": 1, "gid": 2}),
        ("0001", {"uid": 1}),
        ("4294967294", {"uid": 4294967294}),
        ("0:0", {"uid": 0, "gid": 0}),
    ],
)
def test_users_that_are_understood(text: str, ids: dict[str, int]) -> None:
    assert command.parse_user(text) == ids


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        ":2",
        "1:",
        "+1",
        " 1",
        "1 ",
        "1.0",
        "1e3",
        "-1",
        "root",
        "1:root",
        "4294967295",
        "4294967296",
        "١",
        "0" * 19 + "99",
    ],
)
def test_users_that_are_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        command.parse_user(text)
    assert caught.value.what.startswith(("bad uid: ", "bad gid: "))


@pytest.mark.parametrize(
    ("status", "text"),
    [
        ("stopped", "cannot exec in a stopped container"),
        ("paused", "cannot exec in a paused container (use --ignore-paused to override)"),
        ("creating", "cannot exec in a container that is being created"),
    ],
)
def test_statuses_that_refuse(status: str, text: str) -> None:
    with pytest.raises(StateError) as caught:
        command.require_executable(status, False)
    assert (caught.value.code, caught.value.what) == ("status", text)


def test_a_paused_container_on_demand() -> None:
    command.require_executable("paused", True)
