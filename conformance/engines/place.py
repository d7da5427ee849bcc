"""The place in which one engine runs its checks: everything an engine could touch is the place's own.

    python place.py ENGINE RUNTIME-NAME RUNTIME-PATH WORK-DIRECTORY [ONLY]

engines.py starts it as the first process of new mount, pid, network, ipc, uts and cgroup namespaces, in a new cgroup
of every hierarchy.  So /run, /var/lib of the engines, their bridges, ports and iptables rules, their cgroups and
their daemons are not the host's, several engines of one machine do not meet, and with the place all of it ends.
What an engine leaves behind while the place is still there is the last check.

ENGINE.sh is a list of checks: a heading `## name`, then bash, run with -eu and lib.sh.  Four headings are
special: `### prepare`, `### after each`, `### end`, and `### keeps`, patterns of what the engine leaves by design.
`# include FILE` stands for that file's checks.
A check ends with 0: pass, 77: skip (the last line says why), anything else: FAIL.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SKIP = 77
LIMIT = 120.0  # seconds for one check; `# limit: N` in its first line says otherwise
SETTLE = 10.0  # seconds for what has been ended to be gone
PREPARE, AFTER_EACH, END, KEEPS = "### prepare", "### after each", "### end", "### keeps"
LEFTOVERS = "nothing left behind: processes, zombies, mounts, cgroups, network devices"
LAYERED = ("/etc", "/var/lib")  # are overlays
# These, in them, hold overlays themselves, or files that must be the place's alone.
PRIVATE = ("/var/lib/containers", "/var/lib/containerd", "/var/lib/docker", "/var/lib/cni", "/etc/cni", "/etc/docker")
CGROUP_FLAGS = ("rw", "ro", "xattr", "clone_children", "noprefix")


def main() -> int:
    """Process 1 only reaps; its child works.  The place ends with process 1."""
    engine, name, path, work, *only = sys.argv[1:]
    worker = os.fork()
    if worker == 0:
        os._exit(work_in_place(engine, name, path, Path(work), only))
    while True:
        ended, status = os.wait()
        if ended == worker:
            return os.waitstatus_to_exitcode(status)


def work_in_place(engine: str, name: str, path: str, work: Path, only: list[str]) -> int:
    furnish(work)
    before = leftovers()
    environment = {
        "PATH": f"{work}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": f"{work}/home",
        "TMPDIR": f"{work}/tmp",
        "WORK": str(work),
        "HERE": str(HERE),
        "TOOLS": str(HERE.parent / "cache" / "go"),
        "RUNTIME_NAME": name,
        "RUNTIME": path,
        "LANG": "C.UTF-8",
        "TERM": "xterm",
    }
    results = []
    sections = read_checks(HERE / f"{engine}.sh")
    keeps = sections.pop(KEEPS, "").split("\n")
    special = {PREPARE: sections.pop(PREPARE), AFTER_EACH: sections.pop(AFTER_EACH, ""), END: sections.pop(END)}
    prepared = run_check(PREPARE, special[PREPARE], work, environment)
    if prepared["verdict"] == "pass":
        for number, (check, text) in enumerate(sections.items()):
            if only and not any(word in check for word in only):
                continue
            result = run_check(f"{number:02} {check}", text, work, environment) | {"check": check}
            after = run_check(f"{number:02} {check}, afterwards", special[AFTER_EACH], work, environment)
            if after["verdict"] == "FAIL" and result["verdict"] == "pass":
                result |= {"verdict": "FAIL", "said": f"afterwards: {after['said']}"}
            results.append(result)
            print(f"{engine:12} {name:6} {result['verdict']:4} {result['seconds']:5.1f}s {check}", flush=True)
    else:
        results.append(prepared | {"check": "the engine starts"})
    run_check(END, special[END], work, environment)
    left = wait_until_clean(before, keeps)
    results.append({"check": LEFTOVERS, "verdict": "FAIL" if left else "pass", "said": left, "seconds": 0.0})
    (work / "results.json").write_text(json.dumps(results, indent=1))
    return 0


# -- the place -----------------------------------------------------------------------------------


def furnish(work: Path) -> None:
    """Mounts, loopback and directories.  Shared propagation, as systemd makes a host: a mount that leaks shows."""
    cgroups = cgroup_mounts()
    call("mount", "--make-rprivate", "/")
    unmount_below("/sys", "/run", *LAYERED)
    call("mount", "-t", "sysfs", "sysfs", "/sys")
    call("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/sys/fs/cgroup")
    for target, kind, options in cgroups:
        Path(target).mkdir(parents=True, exist_ok=True)
        call("mount", "-t", kind, *(("-o", options) if options else ()), "cgroup", target)
    call("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    Path("/run/lock").mkdir()
    for directory in LAYERED:
        layer = work / "layers" / directory.replace("/", "-")
        (layer / "upper").mkdir(parents=True)
        (layer / "work").mkdir()
        options = f"lowerdir={directory},upperdir={layer}/upper,workdir={layer}/work"
        call("mount", "-t", "overlay", "-o", options, "overlay", directory)
    for directory in PRIVATE:
        mine = work / "private" / directory.replace("/", "-")
        mine.mkdir(parents=True)
        Path(directory).mkdir(exist_ok=True)
        call("mount", "--bind", str(mine), directory)
    call("mount", "--make-rshared", "/")
    call("ip", "link", "set", "lo", "up")
    for name in ("bin", "home", "tmp", "log", "output"):
        (work / name).mkdir(exist_ok=True)


def unmount_below(*directories: str) -> None:
    """Unmount what the host has below directories that the place will cover.

    mountinfo lists covered mounts too, and programs that go by it fail on them: podman, for a container with a mapping
    of its own, unmounts all that it lists below /sys/kernel (tracefs, where perf or a person has mounted it).
    """
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    for line in reversed(lines):  # a copied tree of mounts is listed from the top
        target = re.sub(r"\\([0-7]{3})", lambda escaped: chr(int(escaped[1], 8)), line.split()[4])
        if target.startswith(tuple(f"{directory}/" for directory in directories)):
            call("umount", "--internal-only", target)


def cgroup_mounts() -> list[tuple[str, str, str]]:
    """(mount point, type, options) of every cgroup hierarchy that the host mounts."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, tail = line.partition(" - ")
        kind, _, options = tail.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            names = [name for name in options.split(",") if name not in CGROUP_FLAGS and kind == "cgroup"]
            if any(name.startswith("name=") for name in names):
                names.insert(0, "none")
            found.append((fields.split()[4], kind, ",".join(names)))
    return found


def call(*command: str) -> None:
    subprocess.run(command, check=True)


# -- what is left --------------------------------------------------------------------------------


def leftovers() -> set[str]:
    """Everything in the place that an engine could have left, as lines that can be compared."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) not in (1, os.getpid()):
            try:
                text = (entry / "stat").read_text()
            except OSError:
                continue
            name, _, rest = text.partition("(")[2].rpartition(")")
            found.add(f"process {entry.name} {name}{' (zombie)' if rest.split()[0] == 'Z' else ''}")
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        found.add(f"mount {line.split()[4]}")
    for top, names, _ in os.walk("/sys/fs/cgroup"):
        found.update(f"cgroup {top}/{name}" for name in names)
    found.update(f"network device {name}" for name in os.listdir("/sys/class/net"))
    return found


def wait_until_clean(before: set[str], keeps: list[str]) -> str:
    """What is there and was not, when it does not go within SETTLE seconds; "" when nothing is."""
    deadline = time.monotonic() + SETTLE
    while True:
        new = leftovers() - before
        left = sorted(line for line in new if not any(re.fullmatch(pattern, line) for pattern in keeps))
        if not left or time.monotonic() > deadline:
            return "; ".join(left)
        time.sleep(0.1)


# -- checks --------------------------------------------------------------------------------------


def read_checks(path: Path) -> dict[str, str]:
    """Heading to text, in the file's order."""
    sections: dict[str, str] = {}
    heading = ""
    for line in path.read_text().splitlines():
        include = re.fullmatch(r"# include (\S+)", line)
        if include:
            sections |= read_checks(path.parent / include[1])
        elif line.startswith("##"):
            heading = line if line.startswith("### ") else line.removeprefix("## ")
            if heading in sections:
                raise ValueError(f"{path.name}: two checks are called {heading!r}")
            sections[heading] = ""
        elif heading:
            sections[heading] += line + "\n"
    return sections


def run_check(name: str, text: str, work: Path, environment: dict[str, str]) -> dict[str, object]:
    """Run one check; its output is kept, its trace too."""
    base = work / "output" / re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")
    limit = re.search(r"# limit: (\d+)", text)
    bound = float(limit[1]) if limit else LIMIT
    began = time.monotonic()
    with open(f"{base}.txt", "wb") as output, open(f"{base}.trace", "wb") as trace:
        process = subprocess.Popen(
            ["bash", "-euc", f"set -o pipefail; . {HERE}/lib.sh; BASH_XTRACEFD={trace.fileno()}; set -x\n{text}"],
            env=environment,
            cwd=work,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[trace.fileno()],
            start_new_session=True,
        )
        try:
            status = process.wait(bound)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            status = None
    said = [line for line in Path(f"{base}.txt").read_text(errors="replace").splitlines() if line.strip()]
    if status is None:
        why = f"not finished after {bound:.0f} s"
    elif said and status in (1, SKIP):  # fail and skip have said it
        why = said[-1]
    else:
        why = f"exit status {status}: {said[-1] if said else 'nothing was printed'}"
    verdict = {0: "pass", SKIP: "skip"}.get(-1 if status is None else status, "FAIL")
    seconds = round(time.monotonic() - began, 1)
    return {"check": name, "verdict": verdict, "said": "" if verdict == "pass" else why, "seconds": seconds}


if __name__ == "__main__":
    sys.exit(main())
