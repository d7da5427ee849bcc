"""ocirt bugreport: what is known of a container and its host, as one archive that can be shown to others."""

from __future__ import annotations

from ocirt import log
from ocirt import system as os
from ocirt.bugreport import archive, redact
from ocirt.bugreport.gather import Report, Subject, gather
from ocirt.commands.create import absolute, is_rootless
from ocirt.container import check_id
from ocirt.errors import UsageError
from ocirt.host import probe_host
from ocirt.options import LIST, VALUE, Option
from ocirt.plan import Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.options import Globals, Parsed

SUMMARY = "put what is known of a container and its host into an archive, without secrets"
ARGUMENTS = "<container-id>"
OPTIONS = (
    Option("bundle", "b", VALUE, "the bundle of a container that does not come to life, instead of its record", "DIR"),
    Option("add", "", LIST, "a log, or a file that --trace wrote, to put in as well; repeatable", "FILE"),
    Option("output", "o", VALUE, 'the archive (default: ocirt-bugreport-ID.tar.gz); "-" is standard output', "FILE"),
)
MIN_ARGS = MAX_ARGS = 1


def main(g: Globals, options: Parsed) -> int:
    container_id = options.args[0]
    check_id(container_id)
    name = f"ocirt-bugreport-{container_id}"
    output = options.output or f"{name}.tar.gz"
    if output == "-" and os.isatty(log.STDOUT):
        raise UsageError("an archive is nothing for a terminal", "--output FILE")
    if output != "-" and os.path.exists(output):
        raise UsageError(f"{output} exists", "remove it, or name another one by --output")
    subject = Subject(g.root, container_id, absolute(options.bundle))
    report = Report(redact.Redactor(keep(subject)))
    wishes = Options(
        container_id,
        subject.bundle,
        rootless=is_rootless(g, probe_host()),
        cgroup_manager=manager_of(subject) or g.cgroup_manager,
    )
    gather(report, subject, wishes, g.root, [absolute(path) for path in options.add])
    about = archive.readme(name, report, redact.HARMLESS, redact.SHORTEST)
    data = archive.pack(name, {"README": about, **report.parts})
    if output == "-":
        os.write_all(log.STDOUT, data)
        return 0
    archive.write(output, data)
    log.show(f"{output}: {len(report.parts)} parts, {report.redactor.count} secrets hidden\n")
    return 0


def keep(subject: Subject) -> tuple[str, ...]:
    """What a report cannot do without, should a variable hold it."""
    rootfs = subject.container.record["rootfs"] if subject.container is not None else ""
    return subject.id, subject.bundle, rootfs, subject.directory


def manager_of(subject: Subject) -> str:
    """The cgroup manager that the container was created with, "" where that is not known."""
    record = subject.container.record["cgroup"] if subject.container is not None else None
    return "systemd" if record and record["kind"] == "systemd" else ""
