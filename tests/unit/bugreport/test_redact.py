"""What is hidden in a report, and what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ocirt.bugreport.redact import HIDDEN, Redactor, is_secret_name

PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    "name",
    [
        "PASSWORD",
        "db_password",
        "MYSQL_ROOT_PASSWORD",
        "apiKey",
        "API-KEY",
        "io.example/accessToken",
        "AWSSecretAccessKey",
        "Authorization",
        "--token",
        "dbpassword",
        "key",
        "DSN",
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    ["path", "destination", "monkey", "keyboard", "author", "SigBlk", "passive", "compass", "noNewPrivileges", ""],
)
def test_names_of_none(name: str) -> None:
    assert not is_secret_name(name)


def test_no_member_of_the_configuration_is_called_like_a_secret() -> None:
    """Else a report would lack what it is for."""
    from tests.support.properties import properties

    names = {name for pointer in properties() for name in pointer.split("/") if name and name != "*"}
    assert {name for name in names if is_secret_name(name)} == set()


def test_environments() -> None:
    redactor = Redactor()
    config = {
        "process": {"env": ["PATH=/bin", "A=1", "EMPTY=", "NOTHING", "URL=x=y"]},
        "hooks": {"poststop": [{"path": "/x", "env": ["HOME=/root", "B=two"]}]},
    }
    assert redactor.value(config) == {
        "process": {"env": ["PATH=/bin", f"A={HIDDEN}", "EMPTY=", "NOTHING", f"URL={HIDDEN}"]},
        "hooks": {"poststop": [{"path": "/x", "env": ["HOME=/root", f"B={HIDDEN}"]}]},
    }
    assert redactor.count == 3


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["mysql", "--password=x", "db"], ["mysql", f"--password={HIDDEN}", "db"]),
        (["curl", "--token", "abc", "url"], ["curl", "--token", HIDDEN, "url"]),
        (["app", "--token", "--verbose"], ["app", "--token", "--verbose"]),
        (["sh", "-c", "PGPASSWORD=x psql"], ["sh", "-c", f"PGPASSWORD={HIDDEN} psql"]),
        (["curl", "-H", "Authorization: Bearer abcdefghijk"], ["curl", "-H", f"Authorization: {HIDDEN} {HIDDEN}"]),
        (["git", "clone", "https://me:pw@host/x"], ["git", "clone", f"https://{HIDDEN}@host/x"]),
        (["ls", "--key-file", "/etc/k", "-l"], ["ls", "--key-file", HIDDEN, "-l"]),
        (["sleep", "60"], ["sleep", "60"]),
    ],
)
def test_arguments(words: list[str], shown: list[str]) -> None:
    assert Redactor().value({"args": words}) == {"args": shown}


def test_arguments_of_a_filter_stay() -> None:
    rule = {"args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}
    assert Redactor().value(rule) == rule


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"db.password": "x"}, {"db.password": HIDDEN}),
        ({"db.password": {"inner": "x"}}, {"db.password": {"inner": "x"}}),
        ({"pin": 1234}, {"pin": HIDDEN}),
        ({"cert": PEM}, {"cert": HIDDEN}),
        ({"x": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc"}, {"x": HIDDEN}),
        ({"x": "AKIAIOSFODNN7EXAMPLE"}, {"x": HIDDEN}),
        ({"x": "ghp_abcdefghijklmnopqrstuvwxyz0123"}, {"x": HIDDEN}),
        ({"x": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"}, {"x": HIDDEN}),
        ({"image": "sha256:" + "0123456789abcdef" * 4}, {"image": "sha256:" + "0123456789abcdef" * 4}),
        ({"id": "0123456789abcdef" * 4}, {"id": "0123456789abcdef" * 4}),
        ({"io.container.manager": "libpod"}, {"io.container.manager": "libpod"}),
        ({"options": ["username=me", "password=pw", "ro"]}, {"options": ["username=me", f"password={HIDDEN}", "ro"]}),
        ({"gid": 5, "secret": True}, {"gid": 5, "secret": True}),
    ],
)
def test_values(value: Any, shown: Any) -> None:
    assert Redactor().value(value) == shown


def test_json_in_an_annotation() -> None:
    """As kubectl keeps what it has applied."""
    applied = {"spec": {"env": [{"name": "ANY", "value": "one"}, {"name": "PATH", "value": "/bin"}], "replicas": 1}}
    other = {"settings": [{"name": "DB_PASSWORD", "value": "two"}, {"name": "size", "value": "3"}]}
    found = Redactor().value({"a": json.dumps(applied), "b": json.dumps(other), "c": "{no json"})
    assert isinstance(found, dict)
    assert json.loads(found["a"])["spec"]["env"] == [
        {"name": "ANY", "value": HIDDEN},
        {"name": "PATH", "value": "/bin"},
    ]
    assert json.loads(found["b"])["settings"] == [
        {"name": "DB_PASSWORD", "value": HIDDEN},
        {"name": "size", "value": "3"},
    ]
    assert found["c"] == "{no json"


def test_what_was_hidden_is_hidden_everywhere() -> None:
    redactor = Redactor(keep=("web-container", "/srv/bundle"))
    redactor.value({"env": ["S=correct horse", "SHORT=abc", "ID=web-container", "M=first line\nsecond"]})
    assert redactor.text("said correct horse twice, correct horse") == f"said {HIDDEN} twice, {HIDDEN}"
    assert redactor.text("abc of web-container") == "abc of web-container"
    assert redactor.text("msg='first line\\nsecond'") == f"msg='{HIDDEN}'"


def test_a_longer_secret_goes_before_one_that_it_holds() -> None:
    redactor = Redactor()
    redactor.value({"env": ["A=password1", "B=password1-and-more"]})
    assert redactor.text("password1-and-more") == HIDDEN


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"token": "abc", "level": "error"}', f'{{"token": "{HIDDEN}", "level": "error"}}'),
        ("SigQ:\t0/1024\nSigBlk:\t0000000000000000\n", "SigQ:\t0/1024\nSigBlk:\t0000000000000000\n"),
        ("mount cifs (username=a,password=b,vers=3)", f"mount cifs (username=a,password={HIDDEN},vers=3)"),
        ("https://h/?access_token=abc&x=1", f"https://h/?access_token={HIDDEN}&x=1"),
        ("set RLIMIT_NOFILE to 1024, at most 1024", "set RLIMIT_NOFILE to 1024, at most 1024"),
        ('password="two words" x', f'password="{HIDDEN}" x'),
        (f"x\n{PEM}\ny", f"x\n{HIDDEN}\ny"),
    ],
)
def test_free_text(text: str, shown: str) -> None:
    assert Redactor().text(text) == shown
