"""ocirt plan: what create would do, step by step.  Changes nothing and needs no privileges."""

from __future__ import annotations

from ocirt import log
from ocirt.commands.create import BUNDLE, NO_NEW_KEYRING, NO_PIVOT, STAGE, is_rootless, load_stages
from ocirt.config.bundle import open_bundle, read_config
from ocirt.host import probe_host
from ocirt.plan import Options, make_plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.options import Globals, Parsed

SUMMARY = "print what create would do, step by step, and do nothing"
ARGUMENTS = "[container-id]"
OPTIONS = (BUNDLE, NO_PIVOT, NO_NEW_KEYRING, STAGE)
MAX_ARGS = 1


def main(g: Globals, options: Parsed) -> int:
    bundle = open_bundle(options.bundle)
    config = read_config(bundle.config_text())
    container_id = options.args[0] if options.args else "ID"
    host = probe_host()
    wishes = Options(
        container_id,
        bundle.path,
        no_pivot=options.no_pivot,
        no_new_keyring=options.no_new_keyring,
        rootless=is_rootless(g, host),
        cgroup_manager=g.cgroup_manager,
        extensions=load_stages(options.stage),
    )
    log.show(make_plan(config, host, wishes).describe())
    return 0
