"""docs/tutorial.md: its commands are run, and print what it says.  OCIRT_REWRITE_TUTORIAL=1 writes it anew."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

import pytest

from tests.support import tutorial
from tests.support.bundles import Bundle
from tests.support.runtime import CHECKOUT, Runtime

PAGE = CHECKOUT / "docs/tutorial.md"
BOUND = 60.0  # seconds


@pytest.mark.only_ocirt("it is about `ocirt plan`")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="a filter's length is the machine's")
def test_tutorial(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """In a directory that the root of a user namespace may pass."""
    programs = tmp_path / "bin"
    programs.mkdir()
    command = " ".join(runtime.arguments())
    (programs / "ocirt").write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    (programs / "ocirt").chmod(0o755)
    directory = bundle.path / "tutorial"
    directory.mkdir(mode=0o755)
    page = PAGE.read_text()
    printed = tutorial.run(page, directory, f"{programs}:{os.environ['PATH']}", BOUND)
    for here, there in ((str(directory), "/bundles"), (f"--root {runtime.root} ", "")):
        printed = [text.replace(here, there) for text in printed]
    shutil.rmtree(directory)
    if os.environ.get("OCIRT_REWRITE_TUTORIAL"):
        PAGE.write_text(tutorial.rewritten(page, printed))
    assert printed == [output for _, output in tutorial.blocks(PAGE.read_text())]


def test_commands_of_the_tutorial_are_found() -> None:
    page = "```sh\na\n```\n\n```text\nb\n```\n\n```sh\nc\n```\n\ntext\n\n```text\nd\n```\n"
    assert tutorial.blocks(page) == [("a\n", "b\n"), ("c\n", "")]
    assert tutorial.rewritten(page, ["x\n", ""]) == page.replace("b\n", "x\n")
