"""docs/tutorial.md as what it is: shell commands, and what they print.

A block ```sh is run, all of them in one shell; a block ```text right after one is what it prints, standard error too.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

BLOCK = re.compile(r"```sh\n(?P<commands>.*?)```\n(?:\n```text\n(?P<output>.*?)```\n)?", re.DOTALL)
MARK = "--- end of block {} ---"


def blocks(page: str) -> list[tuple[str, str]]:
    """(commands, what they print) of each block; "" for what is not shown."""
    return [(match["commands"], match["output"] or "") for match in BLOCK.finditer(page)]


def run(page: str, directory: Path, path: str, bound: float) -> list[str]:
    """What each block prints, run in the directory with this PATH."""
    script = "".join(f"{commands}\necho '{MARK.format(n)}'\n" for n, (commands, _) in enumerate(blocks(page)))
    environment = {"PATH": path, "LC_ALL": "C"}
    done = subprocess.run(
        ["/bin/sh"],
        input=script,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=directory,
        env=environment,
        timeout=bound,
        check=True,
    )
    printed, rest = [], done.stdout
    for number in range(len(blocks(page))):
        text, mark, rest = rest.partition(MARK.format(number) + "\n")
        assert mark, f"block {number} did not come to its end: {text}"
        printed.append(text)
    return printed


def rewritten(page: str, printed: list[str]) -> str:
    """The page with what the commands print now."""
    outputs = iter(printed)

    def block(match: re.Match[str]) -> str:
        output = next(outputs)
        shown = f"\n```text\n{output}```\n" if output else ""
        return f"```sh\n{match['commands']}```\n{shown}"

    return BLOCK.sub(block, page)
