"""Libraries of others that few containers need: found, and loaded once, when something asks for one.

The installed command runs without site-packages, so that nothing but the interpreter's own library and ocirt is
loaded by mistake.  For one import the directory of the distribution's packages is added, if it is as well protected as
the library.
"""

from __future__ import annotations

import sys

from ocirt import system as os
from ocirt.errors import OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType


def load(what: str, *modules: str) -> tuple[ModuleType, ...]:
    """The modules, all of one package; before the clone.  what: who needs it, for the message.

    Raises OcirtError("unsupported").
    """
    import enum  # of the standard library, and all of them need it: the native launcher completes itself for it

    package = modules[0].partition(".")[0]
    before = list(sys.path)
    try:
        directories = package_directories(enum.__file__.rpartition("/")[0], package)
        sys.path += [directory for directory in directories if directory not in before]
        for name in modules:
            __import__(name)
    except ImportError:
        raise OcirtError(
            "unsupported",
            f"{what} the Python library {package}",
            detail=sys.executable,
            remedy=f"install the distribution's package (Debian: apt install python3-{package}); one made by pip in a"
            " virtual environment is not seen",
        ) from None
    finally:
        sys.path[:] = before
    return tuple(sys.modules[name] for name in modules)


def package_directories(standard: str, package: str = "") -> list[str]:
    """Debian's directory and the one of others, where nobody but the owner of the standard library can write.

    standard: the directory of the standard library.
    """
    owner = os.stat(standard).st_uid
    directories = (f"{standard.rpartition('/')[0]}/python3/dist-packages", f"{standard}/site-packages")
    return [
        directory
        for directory in directories
        if all(is_safe(path, owner) for path in (directory, f"{directory}/{package}"))
    ]


def is_safe(path: str, owner: int) -> bool | None:
    """Whether nobody but the owner can write there; None when nothing is there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_uid == owner and not found.st_mode & 0o022
