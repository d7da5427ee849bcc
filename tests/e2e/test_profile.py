"""`make profile`: what a container's life uses of the native launcher's memory, as the kernel sees it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ocirt.launcher import placement
from tests.support.runtime import CHECKOUT, Runtime

pytestmark = pytest.mark.only_ocirt("the others have no image of an interpreter")
MOST = 0.9  # of the blocks: a process that waits a little longer or is told something else uses others


def test_a_profile_made_now_is_the_one_that_is_kept(runtime: Runtime, tmp_path: Path) -> None:
    if Path(runtime.command).read_bytes()[:4] != b"\x7fELF":
        pytest.skip("the portable launcher has no image")
    library = Path(runtime.command).parents[1] / "lib/ocirt"
    program = CHECKOUT / "conformance/bench/profile.py"
    command = ["/usr/bin/python3", "-I", "-X", "no_debug_ranges", program, library, tmp_path / "profile.txt"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)

    made, kept = (placement.read(file.read_text()) for file in (tmp_path / "profile.txt", placement.PROFILE))
    same = {name for name in made if name in kept and made[name].digest == kept[name].digest}
    assert len(same) > len(kept) / 2
    written = [
        {(name, *block[:2]) for name in same for block in owners[name].blocks if block.writers}
        for owners in (made, kept)
    ]
    assert len(written[0] & written[1]) > MOST * len(written[0] | written[1])
