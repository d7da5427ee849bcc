"""What is hidden in a report, and what is not."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from ocirt.bugreport.redact import HIDDEN, Redactor, is_secret_name
from ocirt.config import jsontext

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
        (["app", "--password", "-x", "db"], ["app", "--password", HIDDEN, "db"]),
        (["app", "--token", "--password", "x"], ["app", "--token", HIDDEN, HIDDEN]),
        (["app", "--password=two, words", "db"], ["app", f"--password={HIDDEN}", "db"]),
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
        ("password='hunter2x'", f"password='{HIDDEN}'"),
        ("password='hunter2x", f"password='{HIDDEN}"),
        ("password='hunter2 x\nnext", f"password='{HIDDEN}\nnext"),
        ("password: 'hunter2 x' y", f"password: '{HIDDEN}' y"),
        (r'{"msg":"{\"DB_PASSWORD\": \"hunter2xyz\"}"}', rf'{{"msg":"{{\"DB_PASSWORD\": \"{HIDDEN}\"}}"}}'),
        (r'{"msg":"{\"TOKEN\":\"ab\\\"cdefgh\",\"a\":1}"}', rf'{{"msg":"{{\"TOKEN\":\"{HIDDEN}\",\"a\":1}}"}}'),
        (r'{"msg":"TOKEN=\"two words"} x', rf'{{"msg":"TOKEN=\"{HIDDEN}"}} x'),
        (r'{"msg":"TOKEN=abc\nkey=def\ntwo"}', rf'{{"msg":"TOKEN={HIDDEN}"}}'),
        (r'{"msg":"a\nkey=def"}', rf'{{"msg":"a\nkey={HIDDEN}"}}'),
        (r'{"DB_PASSWORD": "ab\"cdefgh", "x": 1}', rf'{{"DB_PASSWORD": "{HIDDEN}", "x": 1}}'),
        (r'{"token": "a\\", "x": 1}', rf'{{"token": "{HIDDEN}", "x": 1}}'),
        (
            '{"token": "", "pin": 1234, "key": null, "keys": {"x": 1}}',
            f'{{"token": "", "pin": {HIDDEN}, "key": null, "keys": {{"x": 1}}}}',
        ),
        ("DB_PASSWORD = x\nNEXT = y", f"DB_PASSWORD = {HIDDEN}\nNEXT = y"),
        ("A_TOKEN=\nNEXT=y", "A_TOKEN=\nNEXT=y"),
        ("run: app --password x --verbose", f"run: app --password {HIDDEN} --verbose"),
        ("run: app --password -x", f"run: app --password {HIDDEN}"),
        ('exec ["app", "--token", "x", "y"]', f'exec ["app", "--token", "{HIDDEN}", "y"]'),
        ("a password is asked for", "a password is asked for"),
        (r"a\neyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", rf"a\n{HIDDEN}"),
    ],
)
def test_free_text(text: str, shown: str) -> None:
    assert Redactor().text(text) == shown


@pytest.mark.parametrize(
    "secret", ['ab"cdefgh', "first\tline\x1b", "b\\ackslash", "a&b<c>defg", "gr\xfc\xdfe \u20ac 5"]
)
def test_a_secret_is_known_in_every_spelling(secret: str) -> None:
    """In JSON as ocirt, Go and Python write it, in Python, and in JSON that is a string of JSON."""
    redactor = Redactor()
    redactor.value({"env": [f"S={secret}"]})
    plain = json.dumps(secret, ensure_ascii=False)
    by_go = plain.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")
    written = [json.dumps(secret), plain, by_go, jsontext.dump(secret)]
    for text in (secret, secret.encode("unicode_escape").decode(), *written, *map(json.dumps, written)):
        assert redactor.text(f"<{text.strip(chr(34))}>").replace("\\", "").replace('"', "") == f"<{HIDDEN}>"


def test_a_secret_that_was_read_with_escapes_is_known_without_them() -> None:
    redactor = Redactor()
    redactor.text(r'{"DB_PASSWORD": "ab\"cdefgh"}')
    assert redactor.text('was ab"cdefgh') == f"was {HIDDEN}"


def test_secrets_that_overlap_are_hidden_as_one() -> None:
    redactor = Redactor()
    redactor.value({"env": ["A=12345678ab", "B=8ab-long-secret"]})
    assert redactor.text("<12345678ab-long-secret>") == f"<{HIDDEN}>"


def test_the_sign_for_what_is_hidden_is_not_hidden() -> None:
    redactor = Redactor()
    redactor.value({"env": ["A=redacted", "B=redacted]"]})
    assert redactor.text("token=x") == f"token={HIDDEN}"
    assert redactor.text(f"token={HIDDEN}") == f"token={HIDDEN}"


def test_names_and_numbers_that_are_secrets_elsewhere() -> None:
    redactor = Redactor()
    redactor.value({"env": ["A=abcdefgh", "PIN=12345678"]})
    assert redactor.value({"abcdefgh": 12345678, "x": 1234}) == {HIDDEN: HIDDEN, "x": 1234}


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_json_without_end_in_an_annotation(opening: str) -> None:
    """Python's own reader gives up with a RecursionError."""
    text = opening * 100_000
    assert Redactor().value({"annotations": {"a": text}}) == {"annotations": {"a": text}}
    assert Redactor().value({"annotations": {"a": text + '"env"'}}) == {"annotations": {"a": HIDDEN}}


@pytest.mark.parametrize("text", ['{"env": ["A=x"], "env": []}', ' [{"name": "KEY", "value": "x"}, NaN]'])
def test_json_that_is_not_gone_through_is_hidden(text: str) -> None:
    assert Redactor().value({"annotations": {"a": text}}) == {"annotations": {"a": HIDDEN}}


def test_a_harmless_variable_with_a_secret_of_another() -> None:
    redactor = Redactor()
    found = [redactor.value({"env": ["PATH=/opt/abcdefgh/bin", "abcdefgh=1", "X=abcdefgh"]}) for _ in range(2)]
    assert found[1] == {"env": [f"PATH=/opt/{HIDDEN}/bin", f"{HIDDEN}={HIDDEN}", f"X={HIDDEN}"]}


def test_the_deepest_json() -> None:
    """Neither a configuration nor an annotation that jsontext takes is too deep for us."""
    deepest = {"env": ["A=abcdefgh"]}
    for _ in range(jsontext.MAX_DEPTH - 4):
        deepest = {"a": deepest}  # type: ignore[dict-item]
    text = jsontext.dump(deepest)
    jsontext.parse(text.encode(), "deep")
    assert "abcdefgh" not in jsontext.dump(Redactor().value(deepest))
    assert "abcdefgh" not in str(Redactor().value({"annotations": {"a": text}}))


PIECES = (
    *("-", "\\", '"', "a\\", "a ", "A", "a=", "a:b@", "://a:", "://", "bearer ", "eyJaaaaaaaaa.", "{", "[", " \t"),
    *('token="', "token='\n", 'token=\\"', 'token=\\"\\\\', "--token ", "token=\\", "token=aaaaaaaa\n"),
    *("-----BEGIN ", "-----BEGIN PRIVATE KEY-----END ", "glpat-", "sk-", "ghp_", "AKIA"),
)


@pytest.mark.parametrize(("piece", "size"), [("a", 1 << 20), ("eyJ", 1 << 20), *((piece, 1 << 17) for piece in PIECES)])
def test_time_is_linear(piece: str, size: int) -> None:
    """Eight times the text may not take 24 times as long; quadratic is 64."""

    def seconds(size: int) -> float:
        text = (piece * (size // len(piece) + 1))[:size]
        redactor = Redactor()
        redactor.value({"env": ["S=correct horse"]})
        began = time.process_time()
        redactor.text(text)
        return time.process_time() - began

    small = min(seconds(size // 8) for _ in range(3))
    assert seconds(size) < 24 * small + 0.05


def test_time_is_linear_in_what_was_found() -> None:
    def seconds(count: int) -> float:
        redactor = Redactor()
        text = "".join(f"token=secret-{number:08}\n" for number in range(count))
        began = time.process_time()
        redactor.text(text)
        redactor.text(text)
        return time.process_time() - began

    small = min(seconds(1000) for _ in range(3))
    assert seconds(8000) < 24 * small + 0.05
