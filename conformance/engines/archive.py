"""Pack a root file system as an image archive (docker save's form), for engines that have no import of a plain tar.

python3 archive.py DIRECTORY NAME:TAG ARCHIVE
"""

import hashlib
import io
import json
import sys
import tarfile

directory, name, archive, *command = sys.argv[1:]
layer = io.BytesIO()
with tarfile.open(fileobj=layer, mode="w") as tar:
    tar.add(directory, arcname=".")
config = json.dumps(
    {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": command or ["sleep", "10000"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer.getvalue()).hexdigest()]},
    }
).encode()
manifest = json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
with tarfile.open(archive, "w") as tar:
    for member, data in (("config.json", config), ("layer.tar", layer.getvalue()), ("manifest.json", manifest)):
        info = tarfile.TarInfo(member)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
