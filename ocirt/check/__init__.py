"""What is wrong with a config.json, and what is dangerous in it: every finding, with its place in the file.

Loaded by `ocirt check` alone.  An error is what `create` would refuse; advice is what it would do all the same.
"""

from __future__ import annotations

from ocirt.errors import CODES as ERROR_CODES

ERROR, ADVICE = "error", "advice"

# Beside those of ocirt.errors, which are what create would refuse.
CODES = {
    "deprecated": "the specification keeps it for old configurations only",
    "device-rules": "the container may use every device of the host",
    "engine-socket": "who can talk to an engine is root on its host",
    "host-capability": "a namespace of the host with a capability that rules over it",
    "mount-option": "an option that no table knows is handed to the file system",
    "no-seccomp": "every system call of the kernel can be reached",
    "relative-destination": "the destination of a mount is taken from /",
    "setuid": "a program that is setuid can raise the privileges of a user other than root",
    "shadowed-mount": "a later mount hides it",
    "unknown-capability": "the capability is ignored",
    "unknown-property": "the property is ignored",
    "unmapped-id": "an id that nobody has in the container's user namespace",
    "no-effect": "the value is ignored",
    "warning": "create says it too, and goes on",
    "writable-proc": "the host's kernel variables can be written",
    "writable-sys": "the host's devices and kernel can be set up",
    "host": "this host cannot do it, or not for this user",
}


class Finding:
    """level: ERROR or ADVICE.  code: of errors.CODES, or of CODES here.  what: a sentence.  at: JSON pointer.

    remedy: what to do.  on_name: the place is the property's name, not its value.
    line, column: from 1 on, in characters; known when placed.
    """

    __slots__ = ("level", "code", "what", "at", "remedy", "on_name", "line", "column")

    def __init__(
        self, level: str, code: str, what: str, at: str = "", remedy: str = "", *, on_name: bool = False
    ) -> None:
        self.level = level
        self.code = code
        self.what = what
        self.at = at
        self.remedy = remedy
        self.on_name = on_name
        self.line = self.column = 1


def meaning(code: str) -> str:
    """What a code stands for."""
    return CODES.get(code) or ERROR_CODES[code]
