"""GVariant text, "[uint32 1, 2]", as a D-Bus signature and a value.  Pure.

Source: "GVariant Text Format" of the GLib reference manual, without the types that D-Bus lacks (maybe, handle).
Values: bool, int, float, str, a list for an array, bytes for an array of bytes, a tuple for a structure, a dict,
and (signature, value) for a variant.
"""

from __future__ import annotations

KEYWORDS = {
    "boolean": "b",
    "byte": "y",
    "int16": "n",
    "uint16": "q",
    "int32": "i",
    "uint32": "u",
    "int64": "x",
    "uint64": "t",
    "double": "d",
    "string": "s",
    "objectpath": "o",
    "signature": "g",
}
RANGES = {
    "y": (0, 2**8 - 1),
    "n": (-(2**15), 2**15 - 1),
    "q": (0, 2**16 - 1),
    "i": (-(2**31), 2**31 - 1),
    "u": (0, 2**32 - 1),
    "x": (-(2**63), 2**63 - 1),
    "t": (0, 2**64 - 1),
}
MOST_LEVELS = 32  # of nesting: D-Bus allows 32 arrays in one another
MOST_DIGITS = 20  # Python refuses to convert thousands of them
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_WORD = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-._"


class Node:
    """What was read, before its type is known.

    kind: "bool", "number", "string", "bytes", "array", "tuple", "dict", "variant".
    value: the text of a number, a str, bytes, or the nodes inside.  signature: given with it, "" when not.
    """

    __slots__ = ("kind", "signature", "value")

    def __init__(self, kind: str, value: object) -> None:
        self.kind = kind
        self.value = value
        self.signature = ""

    def nodes(self) -> list[Node]:
        assert isinstance(self.value, list)
        return self.value


def parse(text: str) -> tuple[str, object]:
    """(signature, value).  Raises ValueError saying what is wrong."""
    reader = _Reader(text)
    node = reader.value(0)
    reader.skip_blanks()
    if reader.at < len(text):
        raise ValueError(f"{text[reader.at :]!r} is too much")
    signature = infer(node)
    return signature, build(node, signature)


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def skip_blanks(self) -> None:
        while self.text[self.at : self.at + 1].isspace():
            self.at += 1

    def peek(self) -> str:
        self.skip_blanks()
        return self.text[self.at : self.at + 1]

    def take(self, sign: str) -> bool:
        if self.peek() != sign:
            return False
        self.at += 1
        return True

    def expect(self, sign: str) -> None:
        if not self.take(sign):
            raise ValueError(f"expected {sign!r} instead of {self.text[self.at : self.at + 10]!r}")

    def word(self) -> str:
        start = self.at
        while self.at < len(self.text) and self.text[self.at] in _WORD:
            self.at += 1
        return self.text[start : self.at]

    def value(self, level: int) -> Node:
        if level > MOST_LEVELS:
            raise ValueError("nested too deeply")
        sign = self.peek()
        if sign == "@":
            return self._annotated(level)
        if sign and sign in "'\"":
            return Node("string", self._quoted())
        if sign == "b" and self.text[self.at + 1 : self.at + 2] in ("'", '"'):
            self.at += 1
            return Node("bytes", self._quoted().encode("utf-8") + b"\0")
        if self.take("["):
            return Node("array", self._list("]", level))
        if self.take("("):
            return Node("tuple", self._list(")", level))
        if self.take("{"):
            return Node("dict", self._entries(level))
        if self.take("<"):
            inner = self.value(level + 1)
            self.expect(">")
            return Node("variant", [inner])
        return self._plain(level)

    def _annotated(self, level: int) -> Node:
        self.at += 1
        start = self.at
        while self.at < len(self.text) and not self.text[self.at].isspace():
            self.at += 1
        signature = self.text[start : self.at]
        if complete_types(signature) != [signature]:
            raise ValueError(f"{signature!r} is no type")
        return self._typed(signature, level)

    def _typed(self, signature: str, level: int) -> Node:
        node = self.value(level + 1)
        if node.signature not in ("", signature):
            raise ValueError(f"a value of type {node.signature} where {signature} is wanted")
        node.signature = signature
        return node

    def _plain(self, level: int) -> Node:
        word = self.word()
        if word in KEYWORDS:
            return self._typed(KEYWORDS[word], level)
        if word in ("true", "false"):
            return Node("bool", word == "true")
        if not word:
            raise ValueError(f"expected a value instead of {self.text[self.at : self.at + 10]!r}")
        return Node("number", word)

    def _list(self, end: str, level: int) -> list[Node]:
        nodes = []
        while not self.take(end):
            nodes.append(self.value(level + 1))
            if not self.take(","):
                self.expect(end)
                break
        return nodes

    def _entries(self, level: int) -> list[Node]:
        """Keys and values in turn."""
        nodes = []
        while not self.take("}"):
            nodes.append(self.value(level + 1))
            self.expect(":")
            nodes.append(self.value(level + 1))
            if not self.take(","):
                self.expect("}")
                break
        return nodes

    def _quoted(self) -> str:
        quote = self.text[self.at]
        self.at += 1
        characters = []
        while (sign := self.text[self.at : self.at + 1]) != quote:
            if not sign:
                raise ValueError(f"a text without its closing {quote}")
            self.at += 1
            characters.append(self._escaped() if sign == "\\" else sign)
        self.at += 1
        return "".join(characters)

    def _escaped(self) -> str:
        sign = self.text[self.at : self.at + 1]
        self.at += 1
        length = {"u": 4, "U": 8}.get(sign)
        if length is None:
            return _ESCAPES.get(sign, sign)
        digits = self.text[self.at : self.at + length]
        self.at += length
        if len(digits) < length or not all(digit in "0123456789abcdefABCDEF" for digit in digits):
            raise ValueError(f"\\{sign} wants {length} hexadecimal digits")
        number = int(digits, 16)
        if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
            raise ValueError(f"\\{sign}{digits} is no character")
        return chr(number)


def complete_types(signature: str) -> list[str]:
    """The single complete types of a signature; [] when it is not a correct one."""
    types: list[str] = []
    while signature:
        length = _type_length(signature)
        if not length:
            return []
        types.append(signature[:length])
        signature = signature[length:]
    return types


def _type_length(signature: str, level: int = 0) -> int:
    """Of the first complete type, 0 when there is none."""
    first = signature[:1]
    if first and first in "bynqiuxtdsogv":
        return 1
    if level > MOST_LEVELS:
        return 0
    if first == "a":
        if signature[1:2] == "{":
            return _entry_length(signature, level)
        inner = _type_length(signature[1:], level + 1)
        return 1 + inner if inner else 0
    if first != "(":
        return 0
    length = 1
    while signature[length : length + 1] != ")":
        inner = _type_length(signature[length:], level + 1)
        if not inner:
            return 0
        length += inner
    return length + 1 if length > 1 else 0  # D-Bus has no empty structure


def _entry_length(signature: str, level: int) -> int:
    """Of a{key value}: the key is of a basic type."""
    if signature[2:3] not in tuple("bynqiuxtdsog"):
        return 0
    inner = _type_length(signature[3:], level + 1)
    return inner + 4 if inner and signature[3 + inner : 4 + inner] == "}" else 0


def infer(node: Node) -> str:
    """The type that is written with a value, or the one a value without it has.  Raises ValueError."""
    if node.signature:
        return node.signature
    if node.kind == "number":
        text = str(node.value).lower()
        return "d" if not _is_integer(text) else "i"
    if node.kind in ("array", "dict"):
        return _infer_many(node)
    if node.kind == "tuple":
        if not node.nodes():
            raise ValueError("a structure without members")
        return "(" + "".join(infer(inner) for inner in node.nodes()) + ")"
    return {"bool": "b", "string": "s", "bytes": "ay", "variant": "v"}[node.kind]


def _infer_many(node: Node) -> str:
    nodes = node.nodes()
    if not nodes:
        raise ValueError(f"an empty {node.kind} needs its type before it, such as @as []")
    if node.kind == "array":
        return "a" + _common(nodes)
    return "a{" + _common(nodes[::2]) + _common(nodes[1::2]) + "}"


def _common(nodes: list[Node]) -> str:
    """The one type of all: the first that is written out, else a number with a point makes all of them such."""
    typed = [node for node in nodes if node.signature]
    found = [infer(node) for node in typed or nodes]
    if not typed and set(found) == {"i", "d"}:
        return "d"
    return found[0]


def build(node: Node, signature: str) -> object:
    """The node as a value of this type.  Raises ValueError."""
    if node.signature and node.signature != signature:
        raise ValueError(f"a value of type {node.signature} where {signature} is wanted")
    if node.kind == "number":
        return _number(str(node.value), signature)
    if node.kind == "bool" and signature == "b":
        return node.value
    if node.kind == "bytes" and signature == "ay":
        return node.value
    if node.kind == "string" and signature in ("s", "o", "g"):
        return _string(str(node.value), signature)
    if node.kind == "array" and signature[0] == "a" and signature[1] != "{":
        return _array([build(inner, signature[1:]) for inner in node.nodes()], signature)
    if node.kind == "tuple" and signature[0] == "(":
        return _tuple(node.nodes(), complete_types(signature[1:-1]))
    if node.kind == "dict" and signature[:2] == "a{":
        return _dict(node.nodes(), signature[2], signature[3:-1])
    if node.kind == "variant" and signature == "v":
        inner = node.nodes()[0]
        kind = infer(inner)
        return kind, build(inner, kind)
    raise ValueError(f"a {node.kind} where the type {signature} is wanted")


def _array(items: list[object], signature: str) -> object:
    return bytes(items) if signature == "ay" else items  # type: ignore[arg-type]


def _tuple(nodes: list[Node], types: list[str]) -> object:
    if len(nodes) != len(types):
        raise ValueError(f"{len(nodes)} members where {len(types)} are wanted")
    return tuple(build(node, kind) for node, kind in zip(nodes, types, strict=True))


def _dict(nodes: list[Node], key: str, value: str) -> object:
    return {build(name, key): build(inner, value) for name, inner in zip(nodes[::2], nodes[1::2], strict=True)}


def _string(text: str, signature: str) -> str:
    if "\0" in text:
        raise ValueError("a text with a NUL character")
    if signature == "g" and text and not complete_types(text):
        raise ValueError(f"{text!r} is no signature")
    if signature == "o" and not _is_object_path(text):
        raise ValueError(f"{text!r} is no object path")
    return text


def _is_object_path(text: str) -> bool:
    if text == "/":
        return True
    names = text.split("/")
    return names[0] == "" and all(
        name and all(sign.isascii() and (sign.isalnum() or sign == "_") for sign in name) for name in names[1:]
    )


def _is_integer(text: str) -> bool:
    digits = text.lstrip("+-")
    if digits.startswith("0x"):
        return True
    return digits.isascii() and digits.isdigit()


def _number(text: str, signature: str) -> int | float:
    if signature == "d":
        try:
            return float(text.replace("_", "?"))
        except ValueError:
            raise ValueError(f"{text!r} is no number") from None
    if signature not in RANGES:
        raise ValueError(f"a number where the type {signature} is wanted")
    number = _integer(text)
    lowest, highest = RANGES[signature]
    if not lowest <= number <= highest:
        raise ValueError(f"{text} is out of range for the type {signature}")
    return number


def _integer(text: str) -> int:
    """Decimal, 0x hexadecimal or, with a leading 0, octal."""
    digits = text[1:] if text[0] in "+-" else text
    base = 16 if digits[:2].lower() == "0x" else 8 if digits.startswith("0") else 10
    try:
        number = int(digits, base if digits != "0" else 10) if len(digits) <= MOST_DIGITS else None
    except ValueError:
        number = None
    if number is None or "_" in digits or digits[:1] in "+-":
        raise ValueError(f"{text!r} is no number")
    return -number if text.startswith("-") else number
