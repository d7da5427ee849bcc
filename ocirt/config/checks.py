"""The MUSTs of the runtime specification that a schema cannot say: one function per rule.

A rule gets a view and yields a ConfigError for each thing that contradicts it; the first one ends
the command, `ocirt check` says them all.  A warning is said, and the command goes on.  Rules depend on
the configuration alone: what depends on the host (cgroup version, kernel, security modules) is held
where it is used.

A table of rules names the member of the view that each is about: where it is not given there is nothing to hold.
"" stands for a rule that holds in any case.

Here: the top level and what spans several parts.  checks_linux, checks_process, checks_resources: the parts.
"""

from __future__ import annotations

from ocirt import log
from ocirt.config import checks_linux, checks_process, checks_resources
from ocirt.errors import ConfigError
from ocirt.kernel.capabilities import CAPABILITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from ocirt.config.views import Config, Mount, Process, Resources, View

    Rule = Callable[[Any], Iterator[ConfigError]]
    Rules = tuple[tuple[str, Rule], ...]

MAX_HOSTNAME = 64  # bytes; __NEW_UTS_LEN of <linux/utsname.h>


def check(config: Config) -> None:
    """Raise the first ConfigError of the rules of config and its parts; log the warnings."""
    for rule, view in held(config):
        for error in rule(view):
            raise error
    _warn(WARNINGS, config)


def held(config: Config) -> list[tuple[Rule, object]]:
    """Each rule with the part of config that it is about, in the order in which they are held."""
    parts: list[tuple[Rules, View]] = [(RULES, config)]
    if config.process is not None:
        parts.append((checks_process.RULES, config.process))
    if config.linux is not None:
        parts.append((checks_linux.RULES, config.linux))
        if config.linux.resources is not None:
            parts.append((checks_resources.RULES, config.linux.resources))
            parts.append((checks_resources.RULES_AT_CREATE, config.linux.resources))
    parts.append((RULES_ACROSS, config))
    return [(rule, view) for rules, view in parts for rule in _asked(rules, view)]


def check_process(process: Process) -> None:
    """The rules that a process has by itself, for exec.  Raises ConfigError rule."""
    _hold(checks_process.RULES, process)


def warn_of(process: Process) -> None:
    """Log the warnings that a process has by itself: one in a file, for exec."""
    _warn(WARNINGS_OF_PROCESS, process)


def _warn(warnings: tuple[Rule, ...], view: View) -> None:
    for one_warning in warnings:
        for said in one_warning(view):
            log.warning(f"{said.what} [{said.at}]")


def check_resources(resources: Resources) -> None:
    """The rules that resources have by themselves, for update.  Raises ConfigError rule."""
    _hold(checks_resources.RULES, resources)


def nul_faults(value: object, at: str) -> Iterator[ConfigError]:
    """No string may hold a NUL: a system call reads "/safe\\0/evil" as "/safe"."""
    if isinstance(value, str):
        if "\0" in value:
            yield ConfigError("rule", "a string must not hold the character NUL", at=at)
    elif isinstance(value, dict):
        for name, member in value.items():
            step = name.replace("~", "~0").replace("/", "~1")
            yield from nul_faults(name, f"{at}/{step}")
            yield from nul_faults(member, f"{at}/{step}")
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from nul_faults(item, f"{at}/{i}")


def _asked(rules: Rules, view: View) -> list[Rule]:
    given = view.raw
    return [rule for member, rule in rules if not member or member in given]


def _hold(rules: Rules, view: View) -> None:
    for rule in _asked(rules, view):
        for error in rule(view):
            raise error


def version(config: Config) -> Iterator[ConfigError]:
    """config.md, Specification version: SemVer 2.0.0; 1.x is what ocirt knows."""
    text = config.oci_version
    if not is_semver(text):
        yield ConfigError("rule", f"ociVersion {log.quote(text)} is not a SemVer 2.0.0 version", at="/ociVersion")
    elif not text.startswith("1."):
        yield ConfigError("rule", f"ociVersion {text} is not supported, only 1.x.y is", at="/ociVersion")


def root(config: Config) -> Iterator[ConfigError]:
    """config.md, Root: required on Linux."""
    if not config.has("root"):
        yield ConfigError("rule", 'the property "root" is required on Linux')
    elif not config.root.path:
        yield ConfigError("rule", "root.path must not be empty", at="/root/path")


def mounts(config: Config) -> Iterator[ConfigError]:
    """config.md, Mounts: a destination; uidMappings and gidMappings only together."""
    for mount in config.mounts:
        if not mount.destination:
            yield ConfigError("rule", "the destination of a mount must not be empty", at=f"{mount.at}/destination")
        if mount.has("uidMappings") or mount.has("gidMappings"):
            yield from _mappings_of_mount(mount)


def _mappings_of_mount(mount: Mount) -> Iterator[ConfigError]:
    if bool(mount.uid_mappings) != bool(mount.gid_mappings):
        yield ConfigError("rule", "uidMappings and gidMappings must be given together", at=mount.at)
    yield from checks_linux.mapping_faults(mount.uid_mappings, f"{mount.at}/uidMappings")
    yield from checks_linux.mapping_faults(mount.gid_mappings, f"{mount.at}/gidMappings")


def names(config: Config) -> Iterator[ConfigError]:
    """config.md, Hostname and Domainname: they belong to the UTS namespace, which must not be the host's."""
    spaces = config.linux.namespaces if config.linux is not None else ()
    has_uts = any(namespace.type == "uts" for namespace in spaces)
    for what, name in (("hostname", config.hostname), ("domainname", config.domainname)):
        if name and not has_uts:
            yield ConfigError("rule", f"unable to set {what} without a private UTS namespace", at=f"/{what}")
        if name and len(name.encode("utf-8")) > MAX_HOSTNAME:
            yield ConfigError("rule", f"{what} is longer than {MAX_HOSTNAME} bytes", at=f"/{what}")


def hooks(config: Config) -> Iterator[ConfigError]:
    """config.md, POSIX-platform Hooks: an absolute path.  (The schema holds timeout > 0.)"""
    if config.hooks is None:
        return
    h = config.hooks
    for kind in (h.prestart, h.create_runtime, h.create_container, h.start_container, h.poststart, h.poststop):
        for hook in kind:
            if not hook.path.startswith("/"):
                yield ConfigError("rule", "the path of a hook must be absolute", at=f"{hook.at}/path")


def annotation_keys(config: Config) -> Iterator[ConfigError]:
    """config.md, Annotations: no empty key."""
    if "" in config.annotations:
        yield ConfigError("rule", "the key of an annotation must not be empty", at="/annotations/")


def mapped_ids(config: Config) -> Iterator[ConfigError]:
    """user_namespaces(7): who is not in the map cannot exist in the namespace."""
    if config.linux is None or config.process is None:
        return
    user, linux = config.process.user, config.linux
    wanted = [
        ("setuid", "uid", user.uid, linux.uid_mappings, "uid"),
        ("setgid", "gid", user.gid, linux.gid_mappings, "gid"),
    ]
    wanted += [
        ("setgroups", "gid", gid, linux.gid_mappings, f"additionalGids/{i}")
        for i, gid in enumerate(user.additional_gids)
    ]
    for call, what, number, mappings, name in wanted:
        if mappings and not any(m.container_id <= number < m.container_id + m.size for m in mappings):
            text = f"cannot {call} to unmapped {what} {number} in user namespace"
            yield ConfigError("rule", text, at=f"{user.at}/{name}")


RULES = (
    ("", version),
    ("", root),
    ("mounts", mounts),
    ("", names),
    ("hooks", hooks),
    ("annotations", annotation_keys),
)
RULES_ACROSS = (("", mapped_ids),)  # after the rules of the parts


def relative_destinations(config: Config) -> Iterator[ConfigError]:
    """config.md, Mounts: deprecated, taken as relative to /."""
    for mount in config.mounts:
        if not mount.destination.startswith("/"):
            text = f"the destination {log.quote(mount.destination)} is not absolute; taken from /"
            yield ConfigError("rule", text, at=mount.at)


def unknown_capabilities(process: Process) -> Iterator[ConfigError]:
    """config.md, Linux Process: a capability that cannot be granted is a warning."""
    if process.capabilities is None:
        return
    sets = process.capabilities.raw
    for name in ("bounding", "effective", "permitted", "inheritable", "ambient"):
        unknown = sorted({capability for capability in sets.get(name, ()) if capability not in CAPABILITIES})
        if unknown:
            text = f"unknown capabilities are ignored: {', '.join(unknown)}"
            yield ConfigError("rule", text, at=f"{process.capabilities.at}/{name}")


def vain_ambient(process: Process) -> Iterator[ConfigError]:
    """capabilities(7), Ambient: none that is not both permitted and inheritable."""
    sets = process.capabilities
    if sets is None or not sets.ambient:
        return
    vain = sorted({name for name in sets.ambient if name not in sets.permitted or name not in sets.inheritable})
    known = [name for name in vain if name in CAPABILITIES]
    if known:
        text = f"ambient capabilities that are not permitted and inheritable too are ignored: {', '.join(known)}"
        yield ConfigError("rule", text, at=f"{sets.at}/ambient")


def of_the_process(config: Config) -> Iterator[ConfigError]:
    """What warn_of() says, in its place."""
    if config.process is not None:
        for one_warning in WARNINGS_OF_PROCESS:
            yield from one_warning(config.process)


def personality_flags(config: Config) -> Iterator[ConfigError]:
    """config-linux.md, Personality: no flag has a meaning yet."""
    if config.linux is not None and config.linux.personality is not None and config.linux.personality.flags:
        text = "linux.personality.flags are ignored: none is defined"
        yield ConfigError("rule", text, at="/linux/personality/flags")


WARNINGS_OF_PROCESS: tuple[Rule, ...] = (unknown_capabilities, vain_ambient)
WARNINGS: tuple[Rule, ...] = (relative_destinations, of_the_process, personality_flags)


def is_semver(text: str) -> bool:
    """Whether text is a version of SemVer 2.0.0: MAJOR.MINOR.PATCH[-PRE.RELEASE][+BUILD]."""
    rest, plus, build = text.partition("+")
    core, dash, release = rest.partition("-")
    numbers = core.split(".")
    return (
        len(numbers) == 3
        and all(_is_number(number) for number in numbers)
        and (not plus or all(_is_identifier(part) for part in build.split(".")))
        and (not dash or all(_is_identifier(p) and (not _digits(p) or _is_number(p)) for p in release.split(".")))
    )


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _is_number(text: str) -> bool:
    """Digits without a leading zero."""
    return _digits(text) and (text == "0" or text[0] != "0")


def _is_identifier(text: str) -> bool:
    return text.isascii() and text.replace("-", "0").isalnum()
