"""A container without a cgroup of its own: it stays in the caller's.  Imported for --cgroup-manager disabled only.

User documentation: cgroups(7).
"""

from __future__ import annotations

from ocirt.stages.cgroup import UnshareCgroupNamespace, check, new_cgroup_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.config.views import Config
    from ocirt.host import Host
    from ocirt.pipeline import Step


def create_cgroup(config: Config, host: Host, container_id: str, rootless: bool = False) -> Iterator[Step]:
    """Place HOST: nothing.  Limits have nowhere to be written; device rules are in every engine's configuration."""
    check(config)
    yield from ()


def join_cgroup(config: Config, host: Host) -> Iterator[Step]:
    """Place INIT, before everything else."""
    if new_cgroup_namespace(config):
        yield UnshareCgroupNamespace()


def join_cgroup_late(config: Config, host: Host) -> Iterator[Step]:
    """Place INIT, after everything else: nothing."""
    yield from ()
