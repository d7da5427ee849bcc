"""Capabilities: the bounding set before the user changes, the other four after it, capabilities(7)."""

from __future__ import annotations

import errno

from ocirt import log
from ocirt.errors import KernelError
from ocirt.kernel.capabilities import CAPABILITIES, MOST_CAPABILITIES, names_of
from ocirt.pipeline import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.box import Box
    from ocirt.config.views import Process


def bits(mask: int) -> list[int]:
    """The numbers of the capabilities in the mask; ~mask has all others."""
    return [bit for bit in range(mask.bit_length() if mask >= 0 else MOST_CAPABILITIES) if mask >> bit & 1]


class LimitBoundingSet(Step):
    """Drop what is not wanted.  Who may not, for want of CAP_SETPCAP, need not drop what is not there."""

    __slots__ = ("mask",)

    def __init__(self, at: str, mask: int) -> None:
        self.at = at
        self.mask = mask

    def describe(self) -> str:
        return f"limit the bounding set to {names_of(self.mask) or 'nothing'}"

    def apply(self, box: Box) -> None:
        kernel = box.kernel
        for capability in bits(~self.mask):
            try:
                kernel.drop_bounding(capability)
            except KernelError as error:
                if error.errno == errno.EINVAL:  # past the last one that this kernel knows
                    return
                if error.errno != errno.EPERM or kernel.read_bounding(1 << capability):
                    raise


class KeepCapabilities(Step):
    """Without it the kernel clears the permitted set when the user stops being 0."""

    __slots__ = ()

    def __init__(self) -> None:
        self.at = ""

    def describe(self) -> str:
        return "keep the capabilities across the change of user"

    def apply(self, box: Box) -> None:
        box.kernel.set_keepcaps(True)


class SetCapabilities(Step):
    """Exactly these sets, less what cannot be granted: the specification wants a warning then, no error."""

    __slots__ = ("effective", "permitted", "inheritable", "ambient")

    def __init__(self, at: str, effective: int, permitted: int, inheritable: int, ambient: int) -> None:
        self.at = at
        self.effective = effective
        self.permitted = permitted
        self.inheritable = inheritable
        self.ambient = ambient

    def describe(self) -> str:
        return (
            f"set capabilities: effective {names_of(self.effective) or 'none'}; "
            f"permitted {names_of(self.permitted) or 'none'}; inheritable {names_of(self.inheritable) or 'none'}; "
            f"ambient {names_of(self.ambient) or 'none'}"
        )

    def apply(self, box: Box) -> None:
        kernel = box.kernel
        kernel.set_keepcaps(False)
        _, have, inherited = kernel.capget()
        permitted = self.permitted & have
        # The kernel's rules of capset: effective within permitted, inheritable within what the bounding set allows.
        effective = self.effective & permitted
        bounding = kernel.read_bounding(self.inheritable & ~inherited)
        inheritable = self.inheritable & (inherited | have & bounding)
        refused = self.permitted & ~permitted | self.effective & ~effective | self.inheritable & ~inheritable
        kernel.clear_ambient()
        kernel.capset(effective, permitted, inheritable)
        raised = self.ambient & permitted & inheritable  # the kernel's rule again
        refused |= self.ambient & ~raised
        for capability in bits(raised):
            try:
                kernel.raise_ambient(capability)
            except KernelError:  # forbidden by the securebits
                refused |= 1 << capability
        if refused:
            log.warning(f"capabilities that cannot be granted: {names_of(refused)}")


def mask_of(names: tuple[str, ...]) -> int:
    """The bit mask of capability names.  Names that are none are left out; config/checks.py has warned of them."""
    return sum(1 << CAPABILITIES.index(name) for name in set(names) if name in CAPABILITIES)


def limit_capabilities(process: Process) -> Iterator[Step]:
    """Before the change of user."""
    wanted = process.capabilities
    yield LimitBoundingSet(wanted.at if wanted else "", mask_of(wanted.bounding) if wanted else 0)
    yield KeepCapabilities()


def set_capabilities(process: Process) -> Iterator[Step]:
    """After the change of user.

    Without process.capabilities everything is dropped, as crun does: the specification leaves it to
    the runtime, and a container that silently keeps all of root's privileges is the worse surprise.
    """
    wanted = process.capabilities
    if wanted is None:
        yield SetCapabilities("", 0, 0, 0, 0)
        return
    sets = (wanted.effective, wanted.permitted, wanted.inheritable, wanted.ambient)
    effective, permitted, inheritable, ambient = map(mask_of, sets)
    # The kernel's rule; config/checks.py has warned.
    yield SetCapabilities(wanted.at, effective, permitted, inheritable, ambient & permitted & inheritable)
