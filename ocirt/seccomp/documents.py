"""Files with a seccomp profile: linux.seccomp alone, a config.json, or the bundle directory of one."""

from __future__ import annotations

from ocirt import system as os
from ocirt.config import checks_linux, jsontext, schema
from ocirt.config.bundle import open_bundle, read_config, read_file
from ocirt.config.views import Seccomp
from ocirt.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DOCKERS = "archMap"  # a member that docker's profiles have; their conditions are members that we would ignore


def load_profile(path: str) -> Seccomp:
    """Raises OcirtError bundle, ConfigError."""
    if os.path.isdir(path):
        return read_profile(open_bundle(path).config_text(), path)
    return read_profile(read_file(path, path), path)


def read_profile(data: bytes, what: str) -> Seccomp:
    """The profile in data.  Pointers start at the file: "/syscalls/0", or "/linux/seccomp/syscalls/0".

    Raises ConfigError json, schema or rule.
    """
    value: Any = jsontext.parse(data, what)
    if isinstance(value, dict) and ("ociVersion" in value or "linux" in value):
        config = read_config(data, what)
        if config.linux is None or config.linux.seccomp is None:
            raise ConfigError("rule", f"{what} has no seccomp profile", at="/linux/seccomp")
        return config.linux.seccomp
    if isinstance(value, dict) and DOCKERS in value:
        raise ConfigError(
            "rule",
            f"{what} is a profile in docker's own format",
            at=f"/{DOCKERS}",
            remedy="let docker or podman make a config.json of it, and name that",
        )
    schema.validate(value, "seccomp")
    profile = Seccomp(value)
    for fault in checks_linux.seccomp_profile(profile):
        raise fault
    return profile
