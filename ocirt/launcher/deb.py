"""Make a Debian package of an installation.  Run by `make deb`:

    PYTHON -I ocirt/launcher/deb.py ROOT DIRECTORY

ROOT holds what `make install PREFIX=/usr DESTDIR=ROOT` made with the native launcher; the package goes into DIRECTORY,
and its path is printed.  No compiler is needed where it is installed.  The same tree gives the same bytes: all times
are $SOURCE_DATE_EPOCH (0 without it).
Sources: deb-control(5), dpkg-deb(1), reproducible-builds.org/specs/source-date-epoch.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TREE))

from ocirt import __version__  # noqa: E402

CONTROL = """\
Package: ocirt
Version: {version}
Architecture: {architecture}
Maintainer: The ocirt authors <ocirt@localhost>
Section: admin
Priority: optional
Installed-Size: {size}
Depends: python3 (>= {python}), python3 (<< {next_python})
Recommends: python3-jeepney
Suggests: criu, uidmap
Description: OCI low-level container runtime in Python
 Creates and runs containers from OCI bundles, under containerd, podman and
 docker in runc's place or by hand, and says what it does and why it failed.
"""


def control(root: Path) -> str:
    """The package's control file."""
    major, minor = sys.version_info[:2]
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    return CONTROL.format(
        version=__version__,
        architecture=output("dpkg", "--print-architecture"),
        size=sum(-(-path.stat().st_size // 1024) for path in files),
        python=f"{major}.{minor}",
        next_python=f"{major}.{minor + 1}",
    )


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def main(root: str, directory: str) -> None:
    source, target = Path(root), Path(directory)
    documents = source / "usr/share/doc/ocirt"
    documents.mkdir(parents=True, exist_ok=True)
    shutil.copy(TREE / "docs/LICENSE", documents / "copyright")
    (source / "DEBIAN").mkdir(exist_ok=True)
    (source / "DEBIAN/control").write_text(control(source))
    os.environ["SOURCE_DATE_EPOCH"] = os.environ.get("SOURCE_DATE_EPOCH") or "0"
    print(output("dpkg-deb", "--root-owner-group", "-Zxz", "--build", root, str(target)))


if __name__ == "__main__":
    main(*sys.argv[1:])
