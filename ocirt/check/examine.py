"""All that is to be said of a config.json: what create would refuse, then what it would do all the same.

One look needs the one before: text that is no JSON has no values, values of other kinds than the schema's no
meaning.  So the rules of a part are held when nothing in that part contradicts the schema, and advice is given, and a
plan made, when nothing at all is wrong.
"""

from __future__ import annotations

from ocirt import log
from ocirt.check import ADVICE, ERROR, Finding, advice, mend
from ocirt.check.places import Places
from ocirt.config import checks, jsontext, schema
from ocirt.config.jsonfault import Fault, decoded, line_and_column
from ocirt.config.views import Config
from ocirt.errors import ConfigError, OcirtError
from ocirt.host import Host
from ocirt.plan import Options, make_plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

# A machine that has everything, so that a plan for it fails by the configuration alone.
_V1 = (*("blkio", "cpu", "cpuset", "devices", "freezer", "hugetlb", "memory"), *("net_cls", "net_prio", "pids", "rdma"))
ANY_HOST = Host(
    kernel=(99, 0),
    apparmor=True,
    selinux=True,
    cgroup="v1",
    cgroup_mounts={name: f"/sys/fs/cgroup/{name}" for name in _V1},
    own_cgroups=dict.fromkeys(_V1, "/"),
)


class Examined:
    """findings: in the order of the file.  config: None when it cannot be used."""

    __slots__ = ("config", "findings", "places")

    def __init__(self, findings: list[Finding], places: Places | None = None, config: Config | None = None) -> None:
        self.places = places
        self.config = config
        self.findings: list[Finding] = []
        self.add(findings)

    def add(self, findings: list[Finding]) -> None:
        if self.places is not None:
            for one in findings:
                self.places.place(one)
        self.findings = sorted(self.findings + findings, key=lambda one: (one.line, one.column, one.level == ADVICE))


def examine(data: bytes, bundle: str) -> Examined:
    """data: config.json as it is.  bundle: its directory, for the paths that are relative to it."""
    try:
        text = decoded(data)
    except Fault as found:
        return Examined([_no_json(data.decode("utf-8", "replace"), found.position, found.why, "")])
    places = Places(text)
    if places.faults:
        return Examined([_no_json(text, *fault) for fault in places.faults])
    try:
        document: Any = jsontext.parse(data, "config.json")
    except ConfigError as error:  # the quick reader knows better than the careful one
        return Examined([Finding(ERROR, error.code, error.what, error.at)])
    errors = [_error(error, mend.schema(error, document)) for error in schema.faults(document)]
    wrong = {error.at.split("/")[1] if error.at else "" for error in errors}
    errors += list(_nul(document))
    if isinstance(document, dict):
        errors += list(_rules(document, wrong))
    said = [] if not isinstance(document, dict) else list(advice.unknown_properties(document))
    config = None
    if not errors:
        config = Config(document)
        planned, warned = try_plan(config, ANY_HOST, Options("ID", bundle))
        said += warned
        if isinstance(planned, ConfigError):
            errors.append(_error(planned, planned.remedy))
            config = None
    if config is not None:
        said += advice.all_advice(config)
    return Examined(errors + said, places, config)


def try_plan(config: Config, host: Host, options: Options) -> tuple[OcirtError | None, list[Finding]]:
    """Why no plan can be made, and what create would warn of; nothing is done beside."""
    warned: list[Finding] = []

    def note(level: str, text: str) -> None:
        if level == "warning":
            what, _, at = text.removesuffix("]").partition(" [")
            warned.append(Finding(ADVICE, "warning", what, at, "correct it, or leave it out"))

    log.relay(note)
    try:
        make_plan(config, host, options)
    except OcirtError as error:
        return error, warned
    finally:
        log.relay(None)
    return None, warned


def _no_json(text: str, position: int, why: str, at: str) -> Finding:
    finding = Finding(ERROR, "json", why, at, "correct the JSON; what it says is looked at then")
    finding.line, finding.column = line_and_column(text, position)
    return finding


def _error(error: OcirtError, remedy: str) -> Finding:
    return Finding(ERROR, error.code, error.what, error.at, remedy)


def _nul(document: object) -> Iterator[Finding]:
    for error in checks.nul_faults(document, ""):
        yield _error(error, "take the \\u0000 out")


def _rules(document: dict[str, Any], wrong: set[str]) -> Iterator[Finding]:
    """wrong: the parts that contradict the schema, "" for the document itself."""
    whole = Config({name: value for name, value in document.items() if name not in wrong})
    for rule, view in checks.held(whole):
        if view is whole and wrong:
            continue
        for error in rule(view):
            yield _error(error, mend.rule(rule.__name__, error, document))
