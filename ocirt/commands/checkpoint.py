"""ocirt checkpoint: the processes of a container into files, by CRIU."""

from __future__ import annotations

from ocirt import log
from ocirt.commands.create import absolute
from ocirt.container import Container
from ocirt.criu.request import IMAGES, SHARED
from ocirt.errors import OcirtError
from ocirt.options import FLAG, VALUE, Option
from ocirt.process.checkpoint import checkpoint
from ocirt.process.inherited import close_inherited

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.options import Globals, Parsed

SUMMARY = "save a running container to files, by CRIU"
ARGUMENTS = "<container-id>"
OPTIONS = (
    *SHARED,
    Option("leave-running", "", FLAG, "let the container go on"),
    Option("tcp-skip-in-flight", "", FLAG, "leave out TCP connections that are not established yet"),
    Option("link-remap", "", FLAG, "allow files without a name to be linked back into their directory"),
    Option("pre-dump", "", FLAG, "save memory only, and let the container go on: a later checkpoint is shorter"),
    Option("parent-path", "", VALUE, "images of an earlier pre-dump, relative to --image-path", "DIR"),
    Option("page-server", "", VALUE, "criu page-server that takes the memory", "ADDRESS:PORT"),
    Option("check", "", FLAG, "only report whether it can be expected to work; nothing is stopped"),
    Option("status-fd", "", VALUE, "descriptor that gets a NUL when --lazy-pages is ready to serve", "FD"),
)
MIN_ARGS = MAX_ARGS = 1


def main(g: Globals, options: Parsed) -> int:
    container = Container.load(g.root, options.args[0])
    close_inherited("", 0)
    images = absolute(options.image_path or IMAGES)
    if options.check:
        return check(container, options, images)
    checkpoint(container, options, images, absolute(options.work_path))
    return 0


def check(container: Container, options: Parsed, images: str) -> int:
    """Print the report; raise OcirtError("criu") when something speaks against a checkpoint."""
    from ocirt.process.checkpoint_check import findings

    found = tuple(findings(container, options, images))
    log.show("".join(f"{finding.describe()}\n" for finding in found))
    faults = sum(1 for finding in found if finding.fault)
    if faults:
        raise OcirtError("criu", f"a checkpoint would not work: {faults} of {len(found)} checks failed")
    return 0
