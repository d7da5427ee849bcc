"""A package of somebody else's that brings stages, as pip installs it."""

from __future__ import annotations

from pathlib import Path

SOURCE = '''
import os

from ocirt.pipeline import Step


class Note(Step):
    """Writes into a file of the host, or of the container's root."""

    def __init__(self, path):
        self.at = "/annotations/org.example.note"
        self.path = path

    def describe(self):
        return f"note it in {self.path}"

    def apply(self, box):
        with open(self.path, "a") as file:
            file.write(f"{os.getpid() == 1}\\n")

    def undo(self, box):
        os.unlink(self.path)


class Noting:
    def __init__(self, place, after, path):
        self.PLACE = place
        self.AFTER = after
        self.path = path

    def steps(self, config, host, options):
        yield Note(self.path.format(bundle=options.bundle))


on_the_host = Noting("host", "cgroup", "{bundle}/noted")
inside = Noting("init", "pivot_root", "/tmp/noted")
at_start = Noting("start", "", "/tmp/noted")
nowhere = Noting("moon", "", "")
after_nothing = Noting("init", "nonesuch", "")
no_stage = "text"


class NoSteps(Noting):
    def steps(self, config, host, options):
        return ["text"]


class Broken(Noting):
    def steps(self, config, host, options):
        return config.nonesuch


no_steps = NoSteps("init", "", "")
broken = Broken("init", "", "")
'''
NEEDS_C = "import mmap\nfrom otherstages import on_the_host as stage\n"
NAMES = ["on_the_host", "inside", "at_start", "nowhere", "after_nothing", "no_stage", "no_steps", "broken"]


def install(directory: Path) -> None:
    """Into the directory, which is or will be on sys.path."""
    directory.mkdir(exist_ok=True)
    (directory / "otherstages.py").write_text(SOURCE)
    (directory / "needsc.py").write_text(NEEDS_C)
    about = directory / "otherstages-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: otherstages\nVersion: 1.0\n")
    points = [f"{name.replace('_', '-')} = otherstages:{name}" for name in NAMES]
    lost = ["lost = otherstages:nonesuch", "gone = nonesuch:thing", "needs-c = needsc:stage"]
    (about / "entry_points.txt").write_text("\n".join(["[ocirt.stages]", *points, *lost, ""]))
