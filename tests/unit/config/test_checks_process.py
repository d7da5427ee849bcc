"""What the files of tests/configs do not show; the rules themselves are tested there."""

from __future__ import annotations

import resource

import pytest

from ocirt.config import checks, checks_process
from ocirt.config.views import Process
from ocirt.errors import ConfigError


def test_a_process_alone_has_the_pointers_of_its_file() -> None:
    with pytest.raises(ConfigError) as raised:
        checks.check_process(Process({"cwd": "/", "args": ["sh"], "user": {"additionalGids": [2**32 - 1]}}))
    assert raised.value.at == "/user/additionalGids/0"


def test_all_limits_of_the_kernel_are_known() -> None:
    assert len(checks_process.RLIMITS) == 16
    of_python = {name for name in dir(resource) if name.startswith("RLIMIT_")} - {"RLIMIT_OFILE"}
    assert of_python <= {*checks_process.RLIMITS}
