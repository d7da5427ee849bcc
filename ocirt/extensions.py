"""Stages of others: found by their entry points, off unless `--stage NAME` asks, loaded before anything is done.

An entry point of the group ocirt.stages names an object (a module, a class, an instance) with

    PLACE                           where its steps run: "host", "beside", "init" or "start"
    AFTER                           the stage of that place that they follow; "": the last one ("start": before "exec")
    steps(config, host, options)    an iterable of ocirt.pipeline.Step; pure: it decides, the steps act

docs/library.md has an example.
"""

from __future__ import annotations

import sys

from ocirt import log
from ocirt import system as os
from ocirt.errors import OcirtError
from ocirt.extras import is_safe, package_directories
from ocirt.pipeline import BESIDE, HOST, INIT, START, Stage, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.metadata import EntryPoint
    from typing import Any

    from ocirt.config.views import Config
    from ocirt.host import Host
    from ocirt.plan import Options

GROUP = "ocirt.stages"
PLACES = (HOST, BESIDE, INIT, START)
PROGRAM = "exec"  # the stage of START whose last step never returns


class Extension:
    """One of these stages.  name: of its entry point.  declared: the object that it names."""

    __slots__ = ("after", "declared", "name", "place")

    def __init__(self, name: str, declared: Any) -> None:
        """Raises OcirtError when the object is not as described above."""
        self.name = name
        self.declared = declared
        self.place: str = getattr(declared, "PLACE", "")
        self.after: Any = getattr(declared, "AFTER", None)
        if self.place not in PLACES:
            raise _fault(name, f"its PLACE is none of {', '.join(PLACES)}")
        if not isinstance(self.after, str) or not callable(getattr(declared, "steps", None)):
            raise _fault(name, "it has no AFTER that is a text, or no function steps")

    def stage(self, config: Config, host: Host, options: Options) -> Stage:
        try:
            stage = Stage(self.name, self.place, self.declared.steps(config, host, options))
        except OcirtError:
            raise
        except Exception as error:
            raise _fault(self.name, f"its steps cannot be planned: {type(error).__name__}: {error}") from error
        if not all(isinstance(step, Step) for step in stage.steps):
            raise _fault(self.name, "what steps() yields is no ocirt.pipeline.Step")
        return stage


def load(names: list[str]) -> tuple[Extension, ...]:
    """Raises OcirtError for a name that no distribution has, or several have, and for what is not as it should be."""
    if not names:
        return ()
    import enum  # of the standard library, which the native launcher completes itself for

    standard, before = enum.__file__.rpartition("/")[0], list(sys.path)
    try:
        added = [path for path in package_directories(standard) if path not in before]
        sys.path += added
        from importlib.metadata import entry_points

        known = {name: [point for point in entry_points(group=GROUP) if point.name == name] for name in names}
        return tuple(Extension(name, _load(name, known[name], standard, added)) for name in dict.fromkeys(names))
    finally:
        sys.path[:] = before


def _load(name: str, points: list[EntryPoint], standard: str, added: list[str]) -> Any:
    """added: the directories of packages that the launcher leaves out, which nobody but their owner may write to."""
    if not points:
        raise OcirtError(
            "usage",
            f"no stage {log.quote(name)} is installed",
            remedy=f"it is an entry point of the group {GROUP}; one of a virtual environment is not seen",
        )
    if len({point.value for point in points}) > 1:
        raise _fault(name, f"several are installed: {', '.join(sorted(point.value for point in points))}")
    module = points[0].module.partition(".")[0]
    owner = os.stat(standard).st_uid
    for path in (f"{directory}/{module}{end}" for directory in added for end in ("", ".py")):
        if is_safe(path, owner) is False:
            raise _fault(name, f"{path} can be written by others than the owner of Python's library")
    try:
        return points[0].load()
    except Exception as error:
        raise _fault(name, f"it cannot be loaded: {type(error).__name__}: {error}") from error


def insert(
    stages: tuple[Stage, ...], extensions: tuple[Extension, ...], config: Config, host: Host, options: Options
) -> tuple[Stage, ...]:
    """The stages with those of the extensions in their places.  Raises OcirtError."""
    found = list(stages)
    for extension in extensions:
        found.insert(_index(found, extension), extension.stage(config, host, options))
    return tuple(found)


def _index(stages: list[Stage], extension: Extension) -> int:
    there = [i for i, stage in enumerate(stages) if stage.place == extension.place and stage.name != PROGRAM]
    if not extension.after:
        return there[-1] + 1
    after = [i for i in there if stages[i].name == extension.after]
    if not after:
        names = ", ".join(dict.fromkeys(stages[i].name for i in there))
        raise _fault(extension.name, f"the place {extension.place} has no stage {extension.after}, it has {names}")
    return after[-1] + 1


def _fault(name: str, why: str) -> OcirtError:
    return OcirtError("usage", f"stage {log.quote(name)}: {why}", remedy="leave --stage out, or mend that package")
