"""What nobody may see who is shown a report: values of environment variables, and what looks like a secret.

value() goes through a JSON document, text() through a log, a command line, a trace.  Both replace what is secret by its
place or its look, and remember it, and what they remember wherever else it stands.  A secret may stand before the place
that tells that it is one: so whoever has several goes through all of them twice.

Every expression here takes time linear in the text, whoever wrote that: one that reads on from a place begins where a
word does, so that no character is read again and again.
"""

from __future__ import annotations

import json
import re

from ocirt import log
from ocirt.config import jsontext
from ocirt.errors import OcirtError

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
        r"(?:(?<![\w-])|(?<=\\[nrt]))eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?",  # JSON Web Token; after \n of JSON too
        r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
        r"\bgh[pousr]_\w{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{20,}|\bxox[abprs]-[\w-]{10,}|\bsk-[\w-]{20,}",
        r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)",  # user:password of a URL
        r"(?i:(?<=\bbearer )|(?<=\bbasic ))[\w.~+/=-]{8,}",
    )
)
# What an assignment begins with, to the opening quote: --db-password=x, password: 'x', DB_PASSWORD = "x", "token": "x",
# \"token\": \"x\" (JSON in JSON; seven backslashes are three levels); and a bare option before a word of its own:
# --password x, "--password", "x".
_ASSIGNMENT = re.compile(
    r"""(?<![\w.-])(?:
    (?P<name>[\w.-]+) (?:\\{0,7}["'])? [ \t]* (?:=>|:=|=+|:\s?) [ \t]* |
    (?P<option>-[\w.-]+) (?: (?:\\{0,7}["'])?,\s* | [ \t]+ )
    ) (?P<quote>\\{0,7}["'])?""",
    re.VERBOSE,
)
_ASSIGNED = re.compile(r"""(?:[^\s,;"'&)\\]|\\+(?!["'\\]))+""")
_QUOTES = {quote: re.compile(rf"(?<!\\)(\\*){quote}") for quote in "\"'"}
# What follows a name in JSON and is no secret: the beginning of more, and what stands for nothing.
_NO_VALUE = re.compile(r"[\[{]+|true|false|null")
_OPTION = re.compile(r"(-[\w.-]+=)(.*)", re.DOTALL)
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
        self._heads: dict[str, set[int]] = {}  # how those begin that are in _found -> how long they are
        self.count = 0

    def value(self, value: object, name: str = "") -> object:
        """A JSON value without secrets.  name: of the member that holds it.

        Two calls a level, so that jsontext.MAX_DEPTH levels are fewer than Python's own limit of calls."""
        if isinstance(value, dict):
            return self._object(value, name in ENVIRONMENTS)
        if isinstance(value, list):
            if name in ENVIRONMENTS:
                return [self._variable(one) for one in value]
            if name in ARGUMENTS and all(isinstance(word, str) for word in value):
                return self.arguments(value)
            return self._list(value, name)
        if isinstance(value, str):
            return self._string(value, name)
        if type(value) is int and (is_secret_name(name) or str(value) in self._found):
            return self._hide(str(value))
        return value

    def _object(self, members: dict[str, object], variable: bool) -> dict[str, object]:
        """Also {"name": "DB_PASSWORD", "value": "x"}, as Kubernetes writes a variable."""
        named = members.get("name")
        found = {}
        for member, inner in members.items():
            found[self._without_found(member)] = self.value(inner, member)
        secret = isinstance(named, str) and (is_secret_name(named) or (variable and named not in HARMLESS))
        if secret and isinstance(members.get("value"), str):
            found["value"] = self._hide(str(members["value"]))
        return found

    def _list(self, values: list[object], name: str) -> list[object]:
        found = []
        for one in values:
            found.append(self.value(one, name))
        return found

    def _string(self, text: str, name: str) -> str:
        if is_secret_name(name) or _GENERATED.fullmatch(text):
            return self._hide(text)
        if text.lstrip()[:1] in ("{", "["):  # JSON in an annotation
            try:
                return json.dumps(self.value(jsontext.parse(text.encode(), name)))
            except (OcirtError, ValueError, RecursionError):
                if any(f'"{member}"' in text for member in (*ENVIRONMENTS, "value")):
                    return self._hide(text)  # too deep, or with a member twice: what its variables hold is not known
        return self.text(text)

    def _variable(self, entry: object) -> object:
        if isinstance(entry, dict):
            return self._object(entry, True)
        name, equals, value = str(entry).partition("=")
        shown = self._without_found(value) if name in HARMLESS else self._hide(value)
        return f"{self._without_found(name)}{equals}{shown}"

    def arguments(self, words: list[str]) -> list[str]:
        """A command line.  A secret is all of the word after --password, and all that follows --password=."""
        found, hide = [], False
        for word in words:
            whole = _OPTION.fullmatch(word)
            if hide:  # also what looks like an option: passwords do
                found.append(self._hide(word))
            elif whole is not None and is_secret_name(whole[1]):
                found.append(whole[1] + self._hide(whole[2]))
            else:
                found.append(self.text(word))
            hide = word.startswith("-") and "=" not in word and is_secret_name(word)
        return found

    def text(self, text: str) -> str:
        """Free text without what was a secret elsewhere, and without what looks like one."""
        text = self._without_found(text)
        for pattern in _LOOKS:
            text = pattern.sub(lambda match: self._hide(match[0]), text)
        return self._without_assigned(text)

    def _without_found(self, text: str) -> str:
        """What overlaps is hidden as one.  One look for each place, however many secrets there are."""
        pieces, shown = [], 0  # all before shown is in pieces
        for place in range(len(text) - SHORTEST + 1) if self._heads else ():
            lengths = self._heads.get(text[place : place + SHORTEST])
            if lengths is None:
                continue
            length = max((one for one in lengths if text[place : place + one] in self._found), default=0)
            if not length:
                continue
            if place >= shown:
                pieces += [text[shown:place], HIDDEN]
                self.count += 1
            shown = max(shown, place + length)
        return "".join(pieces) + text[shown:]

    def _without_assigned(self, text: str) -> str:
        pieces, place = [], 0
        while begins := _ASSIGNMENT.search(text, place):
            pieces.append(text[place : begins.end()])
            place = begins.end()
            name = begins["name"] or begins["option"]
            escaped = text.endswith("\\", 0, begins.start())  # the n of \n is not the name's
            if is_secret_name(name) or (escaped and is_secret_name(name[1:])):
                end = _end_of_value(text, place, begins["quote"] or "")
                pieces.append(self._hide(text[place:end]))
                place = end
        return "".join(pieces) + text[place:]

    def _hide(self, value: str) -> str:
        if not value or value == HIDDEN:
            return value
        self.count += 1
        if len(value) >= SHORTEST and value not in self._keep:
            for spelling in _spellings(value):
                if len(spelling) >= SHORTEST and spelling not in self._keep and spelling not in HIDDEN:
                    self._found.add(spelling)
                    self._heads.setdefault(spelling[:SHORTEST], set()).add(len(spelling))
        return HIDDEN


def _end_of_value(text: str, place: int, opening: str) -> int:
    """Where a value ends that begins at place, after its opening quote with its backslashes, if it has one.

    One without a closing quote ends with its line."""
    if not opening:
        value = _ASSIGNED.match(text, place)
        return place if value is None or _NO_VALUE.fullmatch(value[0]) else value.end()
    level = len(opening) - 1  # 0, in JSON that is a string of JSON 1, and one further in 3
    for quote in _QUOTES[opening[-1]].finditer(text, place):
        if len(quote[1]) < level:  # the string that all this stands in has ended
            return quote.start()
        if (len(quote[1]) - level) % (2 * level + 2) == 0:  # else it is escaped, and belongs to the value
            return quote.end() - len(opening)
    line = text.find("\n", place)
    return line if line >= 0 else len(text)


def _spellings(value: str) -> set[str]:
    """value, without the escapes that it was read with, and as logs and JSON have it, and JSON in these."""
    plain = {value, value.strip()}
    if "\\" in value:
        try:
            plain.add(str(json.loads(f'"{value}"', strict=False)))
        except ValueError:
            pass  # its backslashes are its own
    elif value.isascii() and value.isprintable() and not any(character in value for character in '"<>&'):
        return plain
    once = {spelling for one in plain for spelling in _escaped(one)}
    return once | {spelling for one in once for spelling in _escaped(one)}


def _escaped(text: str) -> tuple[str, ...]:
    in_python = text.encode("unicode_escape").decode()
    in_json = json.dumps(text, ensure_ascii=False)
    by_go = in_json.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return (text, in_python, *(one[1:-1] for one in (in_json, by_go, json.dumps(text), log.quote(text))))
