"""What to do about each error: the remedy of a rule by its name, of a schema's fault by what stands there."""

from __future__ import annotations

from ocirt import OCI_VERSION
from ocirt.check import nearest
from ocirt.config.jsontext import dump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.errors import ConfigError

# The rules of ocirt/config/checks*.py by their names.
RULES = {
    "version": f'write the version of the specification that the file was made for, such as "{OCI_VERSION}"',
    "root": 'add "root": {"path": "rootfs"}, the directory of the root file system',
    "mounts": "give each mount a destination, and uidMappings and gidMappings together or not at all",
    "names": 'add {"type": "uts"} to linux.namespaces, or leave the name out; 64 bytes are the most',
    "hooks": "begin the path with /: hooks run in the runtime's namespace, where no PATH is searched",
    "annotation_keys": "name the annotation, in reverse domain notation such as com.example.key",
    "mapped_ids": "map the id in linux.uidMappings or linux.gidMappings, or take one that is mapped",
    "cwd": "begin it with /: it is a directory in the container",
    "args": 'name the program and its arguments, such as ["sh"]',
    "env": 'write it as "NAME=value"',
    "ids": "take an id from 0 to 4294967294, and a umask from 0 to 511 (0777)",
    "rlimits": "give each resource of getrlimit(2) once, with soft not above hard",
    "oom_score": "take a number from -1000 (never killed) to 1000 (killed first)",
    "console": "take at most 65535, or leave consoleSize out",
    "scheduler": "see sched(7) for the numbers that go with the policy, and leave the others out",
    "io_priority": "give a priority from 0 (highest) to 7",
    "exec_affinity": "write CPUs as numbers and ranges, such as 0-3,7",
    "namespaces": "name each type once, with an absolute path such as /proc/PID/ns/net or with none",
    "mappings": 'map ids of both, such as {"containerID": 0, "hostID": 100000, "size": 65536}, with {"type": "user"}',
    "time_offsets": 'add {"type": "time"} without a path to linux.namespaces; nanosecs are below 1000000000',
    "devices": "give an absolute path once, with type, major and minor as ls -l /dev shows them",
    "net_devices": "use names of at most 15 bytes without / and :, each once, with a network namespace",
    "hidden_paths": "begin the path with /",
    "sysctl": "name a variable that one of the container's own namespaces keeps apart: net.* with network, kernel.shm*,"
    " kernel.msg*, kernel.sem and fs.mqueue.* with ipc, kernel.domainname with uts",
    "seccomp": "see docs/seccomp.md: which actions return a number, and what SCMP_ACT_NOTIFY needs",
    "intel_rdt": "take the name of one directory, and one line for each schema",
    "memory_policy": "see set_mempolicy(2) for the modes that take nodes, and write these as 0-3,7",
    "personality": 'add "domain": "LINUX" or "LINUX32"',
    "memory": "give bytes, or -1 for no limit; swap counts memory and swap together, so it is not below limit",
    "swap_alone": "give memory.limit too: swap counts memory and swap together",
    "cpu": "take 0 or 1 for idle, a burst not above quota, and lists such as 0-3,7",
    "block_io": "give a weight from 10 to 1000 or a rate, and the numbers of a whole disk (lsblk)",
    "device_access": 'write {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"}, or leave type and'
    " numbers out for all devices",
    "hugepages": "give each page size once",
    "interface_priorities": "name an interface by at most 15 bytes without / and :",
    "rdma": "give hcaHandles, hcaObjects or both",
    "unified": "name a file of the cgroup's own directory, such as memory.high",
}


def rule(name: str, error: ConfigError, document: dict[str, Any]) -> str:
    """The remedy of an error that the rule of this name found."""
    if name == "rlimits" and error.at.endswith("/type"):
        near = nearest.rlimit(str(nearest.value_at(document, error.at)))
        if near and near != nearest.value_at(document, error.at):
            return did_you_mean(near)
    return error.remedy or RULES.get(name, "")


def schema(error: ConfigError, document: object) -> str:
    """The remedy of an error that the schema found."""
    shape, value = nearest.shape_at(error.at), nearest.value_at(document, error.at)
    if error.what.startswith("the required property"):
        return _missing(error.what.split('"')[1], error.at, value, shape)
    near = ""
    if isinstance(value, str) and type(shape) is tuple:
        if shape[0] == "enum":
            near = nearest.nearest(value, shape[1])
        elif error.at.startswith("/process/rlimits/") and error.at.endswith("/type"):
            near = nearest.rlimit(value)
        elif shape[0] == "integer" and value.lstrip("-").isdecimal():
            return f"write {value} without quotes"
    if near:
        return did_you_mean(near)
    if shape is bool and value in ("true", "false"):
        return f"write {value} without quotes"
    above, _, name = error.at.rpartition("/")
    outer = nearest.shape_at(above)
    if type(outer) is tuple and outer[0] == "object" and name not in outer[1]:
        return f"correct it, or leave {name} out: it is optional"
    return "correct it: it is required" if name and not name.isdecimal() else "correct it"


def _missing(name: str, at: str, value: object, shape: Any) -> str:
    """A property that is missing; perhaps it is there under another name."""
    known = shape[2]
    strangers = [one for one in value if one not in known] if isinstance(value, dict) else []
    near = nearest.nearest(name, strangers)
    if near:
        return f'did you mean it by "{near}"? It is "{name}"'
    return f'add "{name}": {example(known[name])}' + (f" to {at}" if at else "")


def example(shape: Any) -> str:
    """A value of this shape, as JSON."""
    if shape is str:
        return '"..."'
    if shape is bool:
        return "true"
    kind, second = shape[0], shape[1]
    if kind == "enum":
        return dump(second[0])
    if kind == "integer":
        return str(second or 0)
    return {"array": "[...]", "pattern": '"..."'}.get(kind, "{...}")


def did_you_mean(word: str) -> str:
    return f'did you mean "{word}"?'
