"""hostname and domainname: two calls in the container's UTS namespace, uts_namespaces(7)."""

from __future__ import annotations

from ocirt.pipeline import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.box import Box
    from ocirt.config.views import Config


class SetHostname(Step):
    """sethostname(2) in the new UTS namespace."""

    __slots__ = ("name",)

    def __init__(self, at: str, name: str) -> None:
        self.at = at
        self.name = name

    def describe(self) -> str:
        return f"set the host name to {self.name!r}"

    def apply(self, box: Box) -> None:
        box.kernel.sethostname(self.name)


class SetDomainname(Step):
    """setdomainname(2) in the new UTS namespace."""

    __slots__ = ("name",)

    def __init__(self, at: str, name: str) -> None:
        self.at = at
        self.name = name

    def describe(self) -> str:
        return f"set the NIS domain name to {self.name!r}"

    def apply(self, box: Box) -> None:
        box.kernel.setdomainname(self.name)


def hostname(config: Config) -> Iterator[Step]:
    """INIT.  That there is a UTS namespace to name is a rule of config/checks.py."""
    if config.hostname:
        yield SetHostname("/hostname", config.hostname)
    if config.domainname:
        yield SetDomainname("/domainname", config.domainname)
