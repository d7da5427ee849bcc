"""ocirt plan: what create would do, step by step.  Changes nothing and needs no privileges."""

from __future__ import annotations

from ocirt import log
from ocirt.commands.create import BUNDLE, NO_NEW_KEYRING, NO_PIVOT, STAGE, is_rootless, load_stages
from ocirt.config import jsontext
from ocirt.config.bundle import open_bundle, read_config
from ocirt.errors import UsageError
from ocirt.host import probe_host
from ocirt.options import FLAG, VALUE, Option
from ocirt.plan import Options, make_plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.options import Globals, Parsed
    from ocirt.pipeline import Plan

SUMMARY = "print what create would do, step by step, and do nothing"
ARGUMENTS = "[container-id]"
JSON = Option("json", "", FLAG, "print the plan as JSON")
DIFF = Option(
    "diff", "", VALUE, "print what is otherwise in the plan of another bundle; exit status 1 if anything", "DIR"
)
OPTIONS = (BUNDLE, JSON, DIFF, NO_PIVOT, NO_NEW_KEYRING, STAGE)
MAX_ARGS = 1
SAME, DIFFERENT = 0, 1  # as diff(1)


def main(g: Globals, options: Parsed) -> int:
    if options.json and options.diff:
        raise UsageError("--json and --diff are two forms: take one")
    path, plan = plan_of(g, options, options.bundle)
    if options.diff:
        return show_difference(path, plan, *plan_of(g, options, options.diff))
    log.show(jsontext.dump(document(path, plan), 2) + "\n" if options.json else plan.describe())
    return 0


def plan_of(g: Globals, options: Parsed, directory: str) -> tuple[str, Plan]:
    """The bundle's path, and its plan.  Raises OcirtError."""
    bundle = open_bundle(directory)
    config = read_config(bundle.config_text())
    host = probe_host()
    wishes = Options(
        options.args[0] if options.args else "ID",
        bundle.path,
        no_pivot=options.no_pivot,
        no_new_keyring=options.no_new_keyring,
        rootless=is_rootless(g, host),
        cgroup_manager=g.cgroup_manager,
        extensions=load_stages(options.stage),
    )
    return bundle.path, make_plan(config, host, wishes)


def document(path: str, plan: Plan) -> dict[str, Any]:
    """{"bundle", "stages": [{"place", "name", "steps": [{"what", "pointer"}]}]}; pointer: "" for the runtime's own."""
    stages = [
        {
            "place": stage.place,
            "name": stage.name,
            "steps": [{"what": step.describe(), "pointer": step.at} for step in stage.steps],
        }
        for stage in plan.stages
    ]
    return {"bundle": path, "stages": stages}


def show_difference(path: str, plan: Plan, other_path: str, other: Plan) -> int:
    """Print a unified diff(1) of the two descriptions, in which each bundle's path is BUNDLE."""
    from difflib import unified_diff

    one, two = (
        made.describe().replace(place, "BUNDLE").splitlines(keepends=True)
        for place, made in ((path, plan), (other_path, other))
    )
    lines = list(unified_diff(one, two, path, other_path))
    log.show("".join(lines))
    return DIFFERENT if lines else SAME
