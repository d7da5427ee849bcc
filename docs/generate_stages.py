"""Write docs/stages.md and docs/structure.svg from plans and docstrings; --check: exit 1 when they are not fresh.

The stages and their order are those of ocirt/plan.py; which steps a stage can have is what it has in the plans of
tests/plans, on every host of theirs.  What is said of stages and steps are their docstrings.
"""

from __future__ import annotations

import os
import re
import sys
from inspect import cleandoc, getdoc

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(FOLDER))

from ocirt import log, plan  # noqa: E402
from ocirt.config.bundle import read_config  # noqa: E402
from ocirt.pipeline import ANSWER, BESIDE, HOST, INIT, JOINER, START, Stage, Step  # noqa: E402
from tests.plans.test_plans import HERE, HOSTS, PLANS, options_of  # noqa: E402

Place = tuple[str, str]  # place and name of a stage
PAGE = re.compile(r"\b([a-z][a-z0-9_.-]*)\(([1-8])\)")
SPECIFICATION = re.compile(r"\b(config(?:-linux)?\.md|runtime\.md)")
ARGUMENTS = re.compile(r"  [a-z_, ]+: .*")  # what a docstring says of a step's data
SPECIFICATION_AT = "https://github.com/opencontainers/runtime-spec/blob/v1.3.0/"

PLACES = {
    HOST: "The runtime, before init is born. What it makes on the host is undone when create fails.",
    JOINER: "The joiner: a process that enters namespaces which exist already, gives birth to init inside, and ends.",
    BESIDE: "The runtime, beside init, which waits for GO.",
    INIT: "init, the container's first process, up to READY. The imports are sealed: nothing is loaded any more.",
    ANSWER: "The runtime, when init asks for it by the stage's name, and waits.",
    START: "init, after `start`, up to execve.",
}

HEAD = """\
# Stages

Written by docs/generate_stages.py from ocirt/plan.py, the plans in tests/plans and the docstrings in ocirt/stages; edit
those. `ocirt plan` prints the stages of one bundle ([tutorial.md](tutorial.md)), `ocirt --debug` each as it comes.

A container is made of stages, a stage of steps, and each step of one act that can say what it does (`describe`), do it
(`apply`) and, on the host, take it back (`undo`). A stage that has nothing to do for a configuration is left out. The
picture has the stages of `create` and `start` in the order in which they run, by process:

![processes and stages](structure.svg)

`exec` has the same shape: a joiner enters the container's namespaces, and the process goes through the stages of init
that concern a process (`ocirt/exec_plan.py`). The conversation between the processes is drawn in `ocirt/channel.py`.
"""


class Recorded:
    """A plan that keeps the stages without steps."""

    def __init__(self, *stages: Stage, **_: object) -> None:
        self.stages = stages


def recorded() -> dict[Place, list[Step]]:
    """Every stage in the plan's order, with a step of each class and describing word it can have."""
    log.warning = lambda text: None  # some of the configurations are warned of
    plan.Plan = Recorded  # type: ignore[assignment,misc]
    found: dict[Place, dict[tuple[str, str], Step]] = {}
    for name, host in PLANS:
        config = read_config((HERE / f"{name}.json").read_bytes())
        made = plan.make_plan(config, HOSTS[host], options_of(name, HOSTS[host]))
        for stage in made.stages:
            steps = found.setdefault((stage.place, stage.name), {})
            for step in stage.steps:
                steps.setdefault((type(step).__module__, type(step).__name__), step)
    empty = [place for place, steps in found.items() if not steps]
    assert not empty, f"no plan in tests/plans has steps for {empty}"
    return {place: list(steps.values()) for place, steps in found.items()}


def order(stages: dict[Place, list[Step]]) -> list[Place]:
    """As they run: by process, and in the plan's order."""
    return [place for wanted in PLACES for place in stages if place[0] == wanted]


def page(stages: dict[Place, list[Step]]) -> str:
    text = HEAD
    last = ""
    told: set[str] = set()
    for number, (place, name) in enumerate(order(stages), 1):
        if place != last:
            text += f"\n## {place}\n\n{PLACES[place]}\n"
            last = place
        text += f"\n### {number}. {name}\n{_stage(stages[place, name], told)}"
    return text


def _stage(steps: list[Step], told: set[str]) -> str:
    """told: modules whose docstring stands further up already, as a whole."""
    text = ""
    for module in dict.fromkeys(type(step).__module__ for step in steps):
        prose = _prose(sys.modules[module].__doc__ or "")
        text += f"\n`{module.replace('.', '/')}.py`: {prose.partition(chr(10) * 2)[0] if module in told else prose}\n"
        told.add(module)
    text += "\n| step | what it is | for example | undone |\n|---|---|---|---|\n"
    for step in steps:
        kind = type(step)
        first = ARGUMENTS.sub("", (getdoc(kind) or "").partition("\n\n")[0].replace("\n", " "))
        undone = "yes" if kind.undo is not Step.undo else ""
        text += f"| {kind.__name__} | {_cell(first)} | {_cell(_shortened(step.describe()))} | {undone} |\n"
    return text + f"\nSee {', '.join(references(steps))}.\n"


def references(steps: list[Step]) -> list[str]:
    """Links to the manual pages and chapters of the specification that the docstrings name."""
    docs = " ".join(
        (sys.modules[type(step).__module__].__doc__ or "") + " " + (getdoc(type(step)) or "") for step in steps
    )
    pages = sorted(set(PAGE.findall(docs)))
    chapters = sorted(set(SPECIFICATION.findall(docs)))
    links = [f"[{name}({section})]({_manual(name, section)})" for name, section in pages]
    return links + [f"[{chapter}]({SPECIFICATION_AT}{chapter})" for chapter in chapters]


def _manual(name: str, section: str) -> str:
    if name in ("newuidmap", "newgidmap", "criu"):
        return f"https://manpages.debian.org/{name}.{section}"
    return f"https://man7.org/linux/man-pages/man{section}/{name}.{section}.html"


def _prose(doc: str) -> str:
    """A module's docstring but for the lines that only list pages, on which references() has links."""
    paragraphs = cleandoc(doc).split("\n\n")
    return "\n\n".join(part for part in paragraphs if not part.startswith("User documentation:"))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _shortened(text: str, most: int = 90) -> str:
    return text if len(text) <= most else text[: text.rindex(" ", 0, most)] + " ..."


# -- the picture ---------------------------------------------------------------------------------

LANES = {"runtime": 20, "init": 490}  # left edge of each process's boxes
WIDTH, HEIGHT, GAP = 250, 22, 6
STYLE = (
    "text{font:13px sans-serif;fill:#222}.lane{font-weight:bold}.note{font-style:italic;fill:#555}"
    "rect{fill:#eef3fa;stroke:#4a6fa5}.answer{fill:#fdf3e1;stroke:#b58a3a}line{stroke:#444;stroke-width:1.2;"
    "marker-end:url(#end)}"
)


class Picture:
    """Boxes from top to bottom in two columns, with arrows between them."""

    def __init__(self) -> None:
        self.shapes: list[str] = []
        self.y = 20

    def boxes(self, lane: str, names: list[str], style: str = "") -> None:
        for name in names:
            x = LANES[lane]
            kind = f' class="{style}"' if style else ""
            self.shapes.append(f'<rect{kind} x="{x}" y="{self.y}" width="{WIDTH}" height="{HEIGHT}" rx="4"/>')
            self.shapes.append(f'<text x="{x + 10}" y="{self.y + 16}">{name}</text>')
            self.y += HEIGHT + GAP

    def label(self, lane: str, text: str, style: str) -> None:
        self.shapes.append(f'<text class="{style}" x="{LANES[lane]}" y="{self.y + 14}">{text}</text>')

    def arrow(self, text: str, *, back: bool = False) -> None:
        left, right = LANES["runtime"] + WIDTH, LANES["init"]
        start, end = (right - 4, left + 4) if back else (left + 4, right - 4)
        self.y += 14
        self.shapes.append(f'<text class="note" x="{left + 12}" y="{self.y - 4}">{text}</text>')
        self.shapes.append(f'<line x1="{start}" y1="{self.y}" x2="{end}" y2="{self.y}"/>')
        self.y += 10

    def svg(self) -> str:
        width = LANES["init"] + WIDTH + 20
        arrow = '<marker id="end" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{self.y + 10}">\n<style>{STYLE}</style>\n'
            f'<defs>{arrow}<path d="M0,0 L8,4 L0,8 z"/></marker></defs>\n'
        )
        return head + "\n".join(self.shapes) + "\n</svg>\n"


def picture(stages: dict[Place, list[Step]]) -> str:
    def names(place: str) -> list[str]:
        return [name for where, name in order(stages) if where == place]

    drawing = Picture()
    drawing.label("runtime", "create: the runtime", "lane")
    drawing.label("init", "init: the container's first process", "lane")
    drawing.y += HEIGHT
    drawing.boxes("runtime", names(HOST))
    drawing.arrow("clone3, or by a joiner")
    drawing.boxes("init", [f"joiner: {name}" for name in names(JOINER)])
    drawing.boxes("runtime", names(BESIDE))
    drawing.arrow("GO")
    for name in names(INIT):
        drawing.boxes("init", [name])
        if name == "hooks" or (name == "limits"):
            _question(drawing, name)
        if name == "seccomp":
            _question(drawing, "listener")
    drawing.arrow("READY", back=True)
    drawing.label("runtime", "saves the record, writes the pid-file", "note")
    drawing.y += HEIGHT
    drawing.arrow("SAVED: create ends")
    drawing.label("init", "waits: created", "note")
    drawing.y += HEIGHT + GAP
    drawing.label("runtime", "start: another runtime", "lane")
    drawing.y += HEIGHT
    drawing.arrow("GO")
    drawing.boxes("init", names(START))
    drawing.arrow("closed by execve: running", back=True)
    drawing.label("init", "execve: the program", "lane")
    drawing.y += HEIGHT
    return drawing.svg()


def _question(drawing: Picture, name: str) -> None:
    drawing.arrow(f"ASK {name}", back=True)
    drawing.boxes("runtime", [f"answer: {name}"], "answer")
    drawing.arrow("DONE")


def main() -> int:
    stages = recorded()
    fresh = {"stages.md": page(stages), "structure.svg": picture(stages)}
    old = []
    for name, text in fresh.items():
        path = os.path.join(FOLDER, name)
        if "--check" in sys.argv[1:]:
            if not os.path.exists(path) or open(path, encoding="utf-8").read() != text:  # noqa: SIM115
                old.append(name)
        else:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
    if old:
        print(f"not fresh: {', '.join(old)}: run python3 docs/generate_stages.py", file=sys.stderr)
    return bool(old)


if __name__ == "__main__":
    sys.exit(main())
