"""What nobody may see who is shown a report: values of environment variables, and what looks like a secret.

Two passes.  values() goes through a JSON document and replaces what is secret by its place or its look; each of these
is remembered, and text() replaces it wherever else it stands: in a log, a command line, a trace.
"""

from __future__ import annotations

import json
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

HIDDEN = "[redacted]"
# Variables of every container that say nothing but what a fault may come from.
HARMLESS = ("PATH", "HOME", "TERM", "LANG", "LC_ALL", "TZ", "SHELL", "PWD")
# Members of config.json whose strings are NAME=value.
ENVIRONMENTS = ("env",)
ARGUMENTS = ("args", "command", "commandLine")
SHORTEST = 8  # characters of a value that is replaced elsewhere too: "1" and "true" stand everywhere

_SECRET_WORDS = frozenset(
    """
    apikey auth authorization bearer cookie cred credential credentials creds dsn jwt key keys otp pass passphrase
    passwd password passwords pat pin private psk pw pwd salt secret secrets session signature token tokens
    """.split()  # noqa: SIM905  # sorted words read better
)
_SECRET_PARTS = ("password", "passwd", "secret", "token", "apikey", "credential")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
# What is a secret by its look, wherever it stands.
_LOOKS = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
        r"eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?",  # JSON Web Token
        r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
        r"\bgh[pousr]_\w{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{20,}|\bxox[abprs]-[\w-]{10,}|\bsk-[\w-]{20,}",
        r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)",  # user:password of a URL
        r"(?i:(?<=\bbearer )|(?<=\bbasic ))[\w.~+/=-]{8,}",
    )
)
# What an option or assignment begins with: --db-password=x, password: x, "token": "x".
_ASSIGNMENT = re.compile(r"([A-Za-z][\w.-]*)(?:=\"?|:\s?|\"\s*:\s*\")")
_ASSIGNED = re.compile(r"[^\s,;\"'&)]+")
_QUOTED = re.compile(r"[^\"]+")
# Long, of one piece, with letters of both cases and digits: what a generator made.  Digests have one case.
_GENERATED = re.compile(r"(?=[^A-Z]*[A-Z])(?=[^a-z]*[a-z])(?=\D*\d)[A-Za-z0-9+/_=-]{24,}")


def is_secret_name(name: str) -> bool:
    """Whether what is called so is likely to be kept from others: DB_PASSWORD, io.example/apiKey, --token."""
    words = [word.lower() for word in _WORD.findall(name)]
    joined = "".join(words)
    return not _SECRET_WORDS.isdisjoint(words) or any(part in joined for part in _SECRET_PARTS)


class Redactor:
    """keep: texts that are no secret although an environment variable may hold them: the ID, paths of the bundle."""

    def __init__(self, keep: Iterable[str] = ()) -> None:
        self._keep = {text for text in keep if text}
        self._found: set[str] = set()
        self.count = 0

    def value(self, value: object, name: str = "") -> object:
        """A JSON value without secrets.  name: of the member that holds it."""
        if isinstance(value, dict):
            return self._object(value, name in ENVIRONMENTS)
        if isinstance(value, list):
            if name in ENVIRONMENTS:
                return [self._variable(one) for one in value]
            if name in ARGUMENTS and all(isinstance(word, str) for word in value):
                return self.arguments(value)
            return [self.value(one, name) for one in value]
        if isinstance(value, str):
            return self._string(value, name)
        return self._hide(str(value)) if type(value) is int and is_secret_name(name) else value

    def _object(self, members: dict[str, object], variable: bool) -> dict[str, object]:
        """Also {"name": "DB_PASSWORD", "value": "x"}, as Kubernetes writes a variable."""
        named = members.get("name")
        found = {member: self.value(inner, member) for member, inner in members.items()}
        secret = isinstance(named, str) and (is_secret_name(named) or (variable and named not in HARMLESS))
        if secret and isinstance(members.get("value"), str):
            found["value"] = self._hide(str(members["value"]))
        return found

    def _string(self, text: str, name: str) -> str:
        if is_secret_name(name) or _GENERATED.fullmatch(text):
            return self._hide(text)
        if text[:1] in ("{", "["):  # JSON in an annotation
            try:
                return json.dumps(self.value(json.loads(text)))
            except ValueError:
                pass
        return self.text(text)

    def _variable(self, entry: object) -> object:
        if isinstance(entry, dict):
            return self._object(entry, True)
        name, equals, value = str(entry).partition("=")
        return f"{name}{equals}{value if name in HARMLESS else self._hide(value)}"

    def arguments(self, words: list[str]) -> list[str]:
        """A command line: also what follows --password as a word of its own."""
        found, hide = [], False
        for word in words:
            if hide and not word.startswith("-"):
                found.append(self._hide(word))
            else:
                found.append(self.text(word))
            hide = word.startswith("-") and "=" not in word and is_secret_name(word)
        return found

    def text(self, text: str) -> str:
        """Free text without what looks like a secret, and without what was one elsewhere."""
        for pattern in _LOOKS:
            text = pattern.sub(lambda match: self._hide(match[0]), text)
        text = self._without_assigned(text)
        for secret in sorted(self._found, key=len, reverse=True):
            if secret in text:
                self.count += text.count(secret)
                text = text.replace(secret, HIDDEN)
        return text

    def _without_assigned(self, text: str) -> str:
        pieces, place = [], 0
        while begins := _ASSIGNMENT.search(text, place):
            pieces.append(text[place : begins.end()])
            place = begins.end()
            value = (_QUOTED if begins[0].endswith('"') else _ASSIGNED).match(text, place)
            if value is not None and is_secret_name(begins[1]):
                pieces.append(self._hide(value[0]))
                place = value.end()
        return "".join(pieces) + text[place:]

    def _hide(self, value: str) -> str:
        if not value or value == HIDDEN:
            return value
        self.count += 1
        if len(value) >= SHORTEST and value not in self._keep:
            self._found.add(value)
            escaped = value.encode("unicode_escape").decode().replace('"', '\\"')
            self._found.add(escaped)  # in a log, and in JSON
        return HIDDEN
