"""What systemd says of the units that tests made, and what is left of them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def systemctl(*words: str) -> str:
    """Of the machine's systemd for root, of the user's own else."""
    whose = () if os.geteuid() == 0 else ("--user",)
    return subprocess.run(["systemctl", *whose, *words], check=True, capture_output=True, text=True, timeout=30).stdout


def show(unit: str, *names: str) -> dict[str, str]:
    """Properties of a unit as systemctl prints them; a list has one line for each member."""
    lines = systemctl("show", unit, *(f"--property={name}" for name in names)).splitlines()
    found: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition("=")
        found[name] = f"{found[name]}\n{value}" if name in found else value
    return found


def left_of(name: str) -> list[str]:
    """Units that systemd has loaded and cgroups that are there with this in their name."""
    units = [line.split()[0] for line in systemctl("list-units", "--all", "--plain", "--no-legend").splitlines()]
    found = [unit for unit in units if name in unit]
    for directory, below, _ in os.walk(CGROUPS):
        found += [f"{directory}/{child}" for child in below if name in child]
    return found


def cgroup_of(unit: str) -> Path:
    path = show(unit, "ControlGroup")["ControlGroup"]
    assert path, f"{unit} has no cgroup"
    return CGROUPS / path.lstrip("/")


def text(path: Path) -> str:
    return path.read_text().rstrip("\n")
