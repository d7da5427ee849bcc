"""Write docs/errors.md from ocirt.errors.CODES, ocirt.remedies.RULES and what conformance/errors has recorded.

--check: exit 1 when it is not fresh.
"""

from __future__ import annotations

import errno
import json
import os
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(FOLDER))

from ocirt import remedies  # noqa: E402
from ocirt.errors import CODES  # noqa: E402
from tests.support.failures import FAILURES  # noqa: E402

LINES = os.path.join(os.path.dirname(FOLDER), "conformance", "errors", "lines.json")

HEAD = """\
# Errors

Written by docs/generate_errors.py from ocirt/errors.py, ocirt/remedies.py and conformance/errors; edit those.

A command that fails writes one complete last line to standard error:

```
ocirt create web1: mounts: mount proc on /proc: operation not permitted [/mounts/0] - a new proc needs ...
ocirt <command> <id>: <stage>: <what was tried>: <errno in words> [<JSON pointer>] - <remedy>
```

Parts that do not apply are left out. With `--log FILE` the same text is `msg` of the log's error record; with
`--log-format json` the record has beside `level`, `msg` and `time` those of these fields that apply:

| field | what it holds |
|---|---|
| `code` | one of the codes below; it does not change between versions |
| `stage`, `step` | where in the plan: see `ocirt plan` |
| `pointer` | JSON pointer (RFC 6901) of the setting in config.json |
| `call`, `detail`, `errno` | the system call, its arguments, the number of its error |
| `remedy` | what to do about it |
| `warnings` | warnings of the same command, joined |

Exit status: 1 for a failure, 255 for a failure of `exec`; 130 and 141 when SIGINT ended the command or nobody read
its output; else that of the process which `run` or `exec` waited for, 128 + n when signal n ended it.

## Codes

| code | meaning |
|---|---|
"""

CAUSES = """
## Causes

When a command has failed, and not before, the machine is asked for what the kernel did not say: which part of a path
is not there, what keeps the user from it, which loader or interpreter a program needs, which option a file system
refuses, which limit is reached (`ocirt/diagnosis`, in a child that has five seconds). init, which executes nothing
any more, stays for that until the runtime ends the conversation; its root directory is looked through by descriptor,
no link of an image leads out of it and no FIFO or device is opened. The cause stands where the remedy would. Where
none is found, because the image is closed to who runs ocirt or the failure is another one, the table at the end of
this page has the remedy.

Below, each bundle fails for one reason; the lines are the last ones that `run` (or `exec`) writes with it. They are
written by `make errors` (root), and `tests/e2e/test_causes.py` provokes each of them. runc is 1.1.5, crun is 1.8.1;
paths of bundles, process ids and times are replaced.
"""

REMEDIES = """
## Remedies

The first line that fits the failure counts; an empty cell fits anything, `os` stands for a call made through Python.

| stage or code | call | errno | named in the text | remedy |
|---|---|---|---|---|
"""


def page() -> str:
    codes = "".join(f"| `{code}` | {meaning} |\n" for code, meaning in sorted(CODES.items()))
    return HEAD + codes + CAUSES + _failures() + REMEDIES + "".join(_row(rule) for rule in remedies.RULES)


def _failures() -> str:
    with open(LINES, encoding="utf-8") as file:
        lines = json.load(file)
    text = ""
    for group, failures in FAILURES.items():
        text += f"\n### {group}\n"
        for failure in failures:
            said = lines[failure.__name__]
            width = max(map(len, said))
            block = "\n".join(f"{name.ljust(width)}  {line}" for name, line in said.items())
            text += f"\n**{failure.__doc__}**\n\n```text\n{block}\n```\n"
    return text


def _row(rule: remedies.Rule) -> str:
    errnos = " ".join(errno.errorcode[number].replace("ENOTSUP", "EOPNOTSUPP") for number in rule.errnos) or "none"
    cells = (" ".join(rule.stages), " ".join(rule.calls), errnos, rule.word, rule.says.replace("|", "\\|"))
    return f"| {' | '.join(cells)} |\n"


def main() -> int:
    path = os.path.join(FOLDER, "errors.md")
    fresh = page()
    if "--check" in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            if file.read() == fresh:
                return 0
        print("docs/errors.md is not fresh: run python3 docs/generate_errors.py", file=sys.stderr)
        return 1
    with open(path, "w", encoding="utf-8") as file:
        file.write(fresh)
    return 0


if __name__ == "__main__":
    sys.exit(main())
