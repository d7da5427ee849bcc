"""Write ocirt/config/shapes.py and ocirt/config/views.py from spec/schema/*.json.

    python spec/generate.py            write them
    python spec/generate.py --check    write nothing; exit 1 when one of them is stale

The schemas are JSON Schema draft-04 with two conventions of our own, which validators ignore:
`title` on an object names its view class, and `requiredByText` lists members that the
specification's text requires although the official schema does not (config/checks.py refuses
their absence).  `default` is what the view returns for an absent member.
"""

from __future__ import annotations

import json
import keyword
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CONFIG = HERE.parent / "ocirt" / "config"
Schema = dict[str, Any]
Row = tuple[str, tuple[object, ...]]  # "value", "scalars" or "view", and the member's entry there

KINDS = {
    "config": "config.json#",
    "process": "process.json#",
    "resources": "resources.json#",
    "seccomp": "seccomp.json#",
    "state": "state.json#",
    "features": "features.json#",
}


class Found:
    """A schema after following its $ref.  name: its title or its key under definitions, "" when inline."""

    def __init__(self, schema: Schema, file: str, name: str, beside: Schema) -> None:
        self.schema = schema
        self.file = file
        self.name = name
        self.beside = beside  # what stood beside the $ref: description, default


class Schemas:
    """The files of a schema directory, by name."""

    def __init__(self, directory: Path) -> None:
        self.files: dict[str, Schema] = {file.name: json.loads(file.read_text()) for file in directory.glob("*.json")}

    def find(self, schema: Schema, file: str) -> Found:
        """schema, which stands in file, with its $ref followed."""
        if "$ref" not in schema:
            return Found(schema, file, schema.get("title", ""), schema)
        target, _, path = schema["$ref"].partition("#")
        file = target or file
        node: Any = self.files[file]
        steps = path.split("/")[1:]
        for step in steps:
            node = node[step]
        found = self.find(node, file)
        return Found(found.schema, found.file, found.name or (steps[-1] if steps else ""), {**found.beside, **schema})


def snake(name: str) -> str:
    """A JSON name in Python's manner: noNewPrivileges -> no_new_privileges, class -> class_."""
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    name = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()
    return name + "_" if keyword.iskeyword(name) else name


def kind_of(schema: Schema) -> str:
    """One of string, boolean, integer, enum, pattern, array, map, object; raises ValueError for others."""
    if "enum" in schema:
        return "enum"
    if "pattern" in schema:
        return "pattern"
    if schema["type"] == "object" and "additionalProperties" in schema:
        return "map"
    if schema["type"] not in ("string", "boolean", "integer", "array", "object"):
        raise ValueError(f"type {schema['type']} has no shape")
    return str(schema["type"])


class Shapes:
    """Collects the constants of shapes.py, each after those it uses."""

    def __init__(self, schemas: Schemas) -> None:
        self.schemas = schemas
        self.constants: dict[str, str] = {}

    def shape(self, schema: Schema, file: str) -> str:
        """The expression for schema; named schemas become constants."""
        found = self.schemas.find(schema, file)
        expression = self.expression(found)
        if not found.name or expression in ("str", "bool"):
            return expression
        constant = snake(found.name).upper()
        if self.constants.setdefault(constant, expression) != expression:
            raise ValueError(f"two different schemas are called {constant}")
        return constant

    def expression(self, found: Found) -> str:
        schema, kind = found.schema, kind_of(found.schema)
        if kind in ("string", "boolean"):
            return {"string": "str", "boolean": "bool"}[kind]
        if kind == "integer":
            return f'("integer", {schema.get("minimum")}, {schema.get("maximum")})'
        if kind == "enum":
            return '("enum", (' + "".join(json.dumps(value) + ", " for value in schema["enum"]) + "))"
        if kind == "pattern":
            return f'("pattern", {schema["pattern"]!r})'
        if kind == "array":
            return f'("array", {self.shape(schema["items"], found.file)}, {schema.get("minItems", 0)})'
        if kind == "map":
            return f'("map", {self.shape(schema["additionalProperties"], found.file)})'
        members = ", ".join(
            f"{json.dumps(name)}: {self.shape(member, found.file)}"
            for name, member in schema.get("properties", {}).items()
        )
        required = tuple(schema.get("required", ()))
        return f'("object", {required!r}, {{{members}}})'

    def source(self) -> str:
        kinds = ", ".join(f"{json.dumps(kind)}: {self.shape({'$ref': ref}, '')}" for kind, ref in KINDS.items())
        lines = [f"{constant}: Shape = {expression}" for constant, expression in self.constants.items()]
        return SHAPES_HEAD + "\n".join(lines) + f"\n\nKINDS: dict[str, Shape] = {{{kinds}}}\n"


SHAPES_HEAD = '''"""GENERATED by spec/generate.py from spec/schema; do not edit.  What every value must look like.

A shape is one of
    str, bool                                  the type
    ("integer", minimum, maximum)              None: no bound
    ("enum", (value, ...))                     one of these strings
    ("pattern", expression)                    a string; schema.py has a test for each expression
    ("array", shape, least number of items)
    ("map", shape)                             an object with any names
    ("object", required names, {name: shape})  other names are allowed
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Shape = type[Any] | tuple[Any, ...]

# fmt: off
# ruff: noqa: E501

'''


class Views:
    """Collects what views.py says of each kind of object, after those it uses: a class for the type checker, and
    the table of its members for the interpreter."""

    def __init__(self, schemas: Schemas) -> None:
        self.schemas = schemas
        self.classes: dict[str, str] = {}
        self.tables: dict[str, str] = {}

    def define(self, found: Found) -> str:
        """Both texts of a titled object, written when first met; returns its name."""
        name: str = found.schema["title"]
        if name not in self.classes:
            needed = {*found.schema.get("required", ()), *found.schema.get("requiredByText", ())}
            members = [
                self.member(member, self.schemas.find(schema, found.file), member in needed)
                for member, schema in found.schema["properties"].items()
                if self.is_ours(member)
            ]
            self.classes[name] = self.class_source(name, found.schema.get("description", ""), members)
            self.tables[name] = self.table_source(name, [row for _, row in members])
        return name

    @staticmethod
    def table_source(name: str, rows: list[Row]) -> str:
        """An entry of _MEMBERS."""
        groups = {group: [parts for of, parts in rows if of == group] for group in ("value", "scalars", "view")}
        lines = [literal(*(parts[column] for parts in groups["value"])) for column in range(3)]
        lines.append(literal(*groups["scalars"]))
        views = "".join(f"            {json.dumps(name)}: {literal(*more)},\n" for name, *more in groups["view"])
        lines.append(f"{{\n{views}        }}" if views else "{}")
        return f'    "{name}": (\n' + "".join(f"        {line},\n" for line in lines) + "    ),\n"

    @staticmethod
    def is_ours(member: str) -> bool:
        """Whether Linux has the member."""
        return member not in ("freebsd", "solaris", "vm", "windows", "zos", "commandLine", "username")

    @staticmethod
    def class_source(name: str, description: str, members: list[tuple[str, Row]]) -> str:
        text = f"    class {name}(View):\n"
        if description:
            text += f'        """{description}"""\n\n'
        return text + "".join(f"        {line}\n" for line, _ in members)

    def member(self, name: str, found: Found, needed: bool) -> tuple[str, Row]:
        """One property of a class: its declaration, and its row in the table."""
        kind, schema = kind_of(found.schema), found.schema
        if kind == "array":
            item = self.schemas.find(schema["items"], found.file)
            if kind_of(item.schema) == "object":
                view = self.define(item)
                return f"{snake(name)}: tuple[{view}, ...]", row(name, "views", view)
            return f"{snake(name)}: tuple[{self.scalar(item)}, ...]", row(name, "scalars")
        if kind == "map":
            item = self.schemas.find(schema["additionalProperties"], found.file)
            if kind_of(item.schema) == "object":
                view = self.define(item)
                return f"{snake(name)}: dict[str, {view}]", row(name, "view_map", view)
            return f"{snake(name)}: dict[str, {self.scalar(item)}]", row(name, "map")
        if kind == "object" and "title" not in schema:  # a few fixed names for things of one kind: seen as a map
            views = {self.define(self.schemas.find(member, found.file)) for member in schema["properties"].values()}
            (view,) = views
            return f"{snake(name)}: dict[str, {view}]", row(name, "view_map", view, tuple(schema["properties"]))
        default = found.beside.get("default")
        given = () if default is None else (default,)
        absent = "" if needed or default is not None else " | None"
        if kind == "object":
            view = self.define(found)
            return f"{snake(name)}: {view}{absent}", row(name, "view", view, *given)
        return f"{snake(name)}: {self.scalar(found)}{absent}", row(name, "value", *given)

    @staticmethod
    def scalar(found: Found) -> str:
        return {"integer": "int", "boolean": "bool"}.get(kind_of(found.schema), "str")

    def source(self) -> str:
        self.define(self.schemas.find({"$ref": KINDS["config"]}, ""))
        classes = "\n".join(self.classes.values())
        tables = "".join(self.tables.values())
        return f"{VIEWS_HEAD}if TYPE_CHECKING:\n\n{classes}\n\n_MEMBERS: dict[str, Members] = {{\n{tables}}}\n"


def row(name: str, kind: str, *more: object) -> Row:
    """What _MEMBERS has of a member, and to which of the three groups it belongs."""
    if kind == "value":
        return kind, (snake(name), name, *(more or (None,)))
    if kind == "scalars":
        return kind, (snake(name), name)
    return "view", (snake(name), kind, name, *more)


def literal(*parts: object) -> str:
    """A tuple as source."""
    texts = [json.dumps(part) if isinstance(part, str) else repr(part) for part in parts]
    return f"({texts[0]},)" if len(texts) == 1 else f"({', '.join(texts)})"


VIEWS_HEAD = '''"""GENERATED by spec/generate.py from spec/schema; do not edit.  Read-only windows on config.json.

A property has the JSON name in Python's manner (noNewPrivileges: no_new_privileges; class: class_).
An absent member is None, (), {} or the default that the schema gives.

The classes stand here for the type checker.  The interpreter needs none of them: a class costs a start 20 us.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    # Of members that are one value the names here and in JSON, and the defaults.  Of each array of scalars both names.
    # What is made when it is asked for: name here -> function of _MAKERS, name in JSON, what else the function takes.
    Names = tuple[str, ...]
    Members = tuple[Names, Names, tuple[object, ...], tuple[tuple[str, str], ...], dict[str, tuple[Any, ...]]]


class View:
    """A part of config.json.  raw: the object as read; at: its JSON pointer.

    Plain members are attributes from the start.  Maps and those that are views themselves are made when they are first
    asked for: a miss costs 2 us, more than reading ten plain members.
    """

    raw: dict[str, Any]
    at: str

    def __init__(self, value: dict[str, Any], at: str = "", members: Members = ((), (), (), (), {})) -> None:
        mine = self.__dict__
        mine["raw"] = value
        mine["at"] = at
        names, keys, defaults, arrays, mine["_views"] = members
        mine.update(zip(names, map(value.get, keys, defaults), strict=True))
        for name, key in arrays:
            mine[name] = tuple(value.get(key, ()))

    def has(self, name: str) -> bool:
        """Whether the JSON member called name is present."""
        return name in self.raw

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name not in self._views:
                raise AttributeError(f"config.json has no {name} here")
            maker, *more = self._views[name]
            found = self.__dict__[name] = _MAKERS[maker](self, *more)
            return found

        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(f"{name} is read-only")


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """What makes a view of this kind of a value and a pointer, in place of the class."""
        if name not in _MEMBERS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

        def made(value: dict[str, Any], at: str = "") -> View:
            return View(value, at, _MEMBERS[name])

        globals()[name] = made
        return made


def _map(view: View, name: str) -> dict[str, Any]:
    found: dict[str, Any] = view.raw.get(name, {})
    return found


def _view(view: View, name: str, kind: str, default: dict[str, Any] | None = None) -> View | None:
    value = view.raw.get(name, default)
    return None if value is None else View(value, f"{view.at}/{name}", _MEMBERS[kind])


def _views(view: View, name: str, kind: str) -> tuple[View, ...]:
    items = view.raw.get(name)
    if not items:
        return ()
    members = _MEMBERS[kind]
    return tuple([View(item, f"{view.at}/{name}/{i}", members) for i, item in enumerate(items)])


def _view_map(view: View, name: str, kind: str, names: tuple[str, ...] | None = None) -> dict[str, View]:
    """names: the only ones that count; None when every name does."""
    members = _MEMBERS[kind]
    return {
        key: View(item, f"{view.at}/{name}/" + key.replace("~", "~0").replace("/", "~1"), members)
        for key, item in view.raw.get(name, {}).items()
        if names is None or key in names
    }


_MAKERS: dict[str, Callable[..., Any]] = {
    "map": _map,
    "view": _view,
    "views": _views,
    "view_map": _view_map,
}

# fmt: off
# ruff: noqa: E501
'''


def sources() -> dict[Path, str]:
    """The generated files and what they should hold."""
    schemas = Schemas(HERE / "schema")
    return {CONFIG / "shapes.py": Shapes(schemas).source(), CONFIG / "views.py": Views(schemas).source()}


def main(arguments: list[str]) -> int:
    """Returns the exit status."""
    stale = [file for file, text in sources().items() if not file.exists() or file.read_text() != text]
    if arguments == ["--check"]:
        for file in stale:
            print(f"{file} is stale: run `make spec`", file=sys.stderr)
        return 1 if stale else 0
    for file, text in sources().items():
        file.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
