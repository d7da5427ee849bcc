"""The session keyring."""

from __future__ import annotations

import errno

import pytest

from ocirt.errors import KernelError
from ocirt.stages.keyring import session_keyring
from tests.support.recorder import kernel_error, recorded_box

DESCRIPTION = "keyring;0;0;3f130000;_ses.web"


@pytest.mark.parametrize(("in_userns", "mask"), [(False, 0x3F1B0000), (True, 0x3F130008)])
def test_it_is_joined_and_may_be_searched(in_userns: bool, mask: int) -> None:
    (step,) = session_keyring("_ses.web", in_userns)
    box, kernel = recorded_box(join_session_keyring=42, keyctl_describe=DESCRIPTION)
    step.apply(box)
    assert kernel.calls == [
        ("join_session_keyring", "_ses.web"),
        ("keyctl_describe", 42),
        ("keyctl_setperm", 42, mask),
    ]


def test_a_kernel_without_keyrings_is_fine() -> None:
    (step,) = session_keyring("_ses.web")
    box, kernel = recorded_box(join_session_keyring=kernel_error(errno.ENOSYS))
    step.apply(box)
    assert kernel.names() == ["join_session_keyring"]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EDQUOT])
def test_any_other_failure_stays(number: int) -> None:
    (step,) = session_keyring("_ses.web")
    box, _ = recorded_box(join_session_keyring=kernel_error(number))
    with pytest.raises(KernelError):
        step.apply(box)
