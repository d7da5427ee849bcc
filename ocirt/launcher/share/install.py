"""Write the manual pages and the completions of bash, zsh and fish below a share directory, or remove them.

python3 -IB ocirt/launcher/share/install.py DIRECTORY | --remove DIRECTORY
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from ocirt.launcher.share import bash, fish, manual, tables, zsh


def files() -> dict[str, str]:
    """A path below the share directory -> its content."""
    commands = tables.commands()
    made = {f"man/man1/{name}": text for name, text in manual.pages(commands).items()}
    made["bash-completion/completions/ocirt"] = bash.script(commands)
    made["zsh/site-functions/_ocirt"] = zsh.script(commands)
    made["fish/vendor_completions.d/ocirt.fish"] = fish.script(commands)
    return made


def main(words: list[str]) -> int:
    *options, directory = words
    for name, text in files().items():
        path = os.path.join(directory, name)
        if "--remove" in options:
            if os.path.lexists(path):
                os.unlink(path)
            continue
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(f"{path}.new", 0o644)
        os.rename(f"{path}.new", path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
