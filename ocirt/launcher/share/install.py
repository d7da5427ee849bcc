"""Write the manual pages and the completions of bash, zsh and fish below a share directory, or remove them.

python3 -IB ocirt/launcher/share/install.py DIRECTORY | --remove DIRECTORY
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from ocirt.launcher import write
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
        path = Path(directory, name)
        if "--remove" in options:
            path.unlink(missing_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        write.replace(path, text.encode(), 0o644)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
