"""Command lines that show what each command is for: (line, what it does).  "" is for ocirt itself.

The help prints the first two, the man pages print all.
"""

from __future__ import annotations

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "": (
        ("ocirt run --bundle web web1", "run the bundle in the directory web as the container web1"),
        ("ocirt check web && ocirt plan --bundle web", "say what is wrong with it, and what create would do"),
        ("ocirt --root /run/mine list", "the containers that are recorded elsewhere"),
    ),
    "create": (
        ("ocirt create --bundle web --pid-file web1.pid web1", "make the container; `ocirt start web1` runs it"),
        ("ocirt create --bundle web --console-socket tty.sock web1", "with a terminal, for who listens on tty.sock"),
    ),
    "start": (("ocirt start web1", "let the created container run its program"),),
    "run": (
        ("ocirt run --bundle web web1", "wait for the program and exit with its status"),
        ("ocirt run --bundle web --detach --pid-file web1.pid web1", "return when it runs"),
    ),
    "exec": (
        ("ocirt exec --tty web1 sh", "a shell in the container"),
        ("ocirt exec --user 1000:1000 --env DEBUG=1 web1 id -u", "as another user, with a variable"),
        ("ocirt exec --process process.json web1", "the process of a file"),
    ),
    "state": (("ocirt state web1", "status, pid and bundle as JSON"),),
    "list": (
        ("ocirt list", "a table"),
        ("ocirt list --quiet | xargs -n 1 ocirt delete --force", "delete every container"),
    ),
    "ps": (
        ("ocirt ps web1", "as ps -ef shows them"),
        ("ocirt ps --format json web1", "process ids alone"),
    ),
    "kill": (
        ("ocirt kill web1", "SIGTERM to its first process"),
        ("ocirt kill --all web1 KILL", "end every process"),
    ),
    "pause": (("ocirt pause web1", "freeze all processes"),),
    "resume": (("ocirt resume web1", "let them go on"),),
    "update": (
        ("ocirt update --memory 512m --pids-limit 100 web1", "change two limits"),
        ("ocirt update --resources limits.json web1", "limits as config.json has them in linux.resources"),
    ),
    "events": (
        ("ocirt events --stats web1", "one line of usage, then end"),
        ("ocirt events --interval 1s web1", "a line each second, and when memory runs out"),
    ),
    "stats": (
        ("ocirt stats", "what every container uses, as a table"),
        ("ocirt stats --watch --interval 5s web1", "one of them, again and again"),
        ("ocirt stats --format prometheus", "for what collects metrics"),
    ),
    "checkpoint": (
        ("ocirt checkpoint --image-path images web1", "save it and end it"),
        ("ocirt checkpoint --leave-running --image-path images web1", "save it and let it go on"),
    ),
    "restore": (
        ("ocirt restore --image-path images --bundle web web1", "go on where the checkpoint was, and wait"),
        ("ocirt restore --detach --image-path images --bundle web web1", "return when it runs"),
    ),
    "delete": (
        ("ocirt delete web1", "remove a container that has ended"),
        ("ocirt delete --force web1", "end it first; no error when there is none"),
    ),
    "gc": (
        ("ocirt gc --dry-run", "say what would be removed"),
        ("ocirt gc --format json", "remove it, and say what became of everything"),
    ),
    "doctor": (
        ("ocirt doctor", "what is wrong with the machine"),
        ("ocirt doctor web1", "what a container waits for"),
    ),
    "bugreport": (
        ("ocirt bugreport web1", "write ocirt-bugreport-web1.tar.gz: look through it before you show it"),
        ("ocirt bugreport --add ocirt.log --add start.json web1", "with a log and a trace"),
        ("ocirt bugreport --bundle web web1", "of a container that does not come to life"),
    ),
    "spec": (
        ("ocirt spec --bundle web", "write web/config.json"),
        ("ocirt spec --rootless", "one for a user without privileges, in the working directory"),
    ),
    "features": (
        ("ocirt features", "what ocirt can do, as the specification has it"),
        ("ocirt features --probe", "what works here, and why not"),
    ),
    "plan": (
        ("ocirt plan --bundle web", "every step of create"),
        ("ocirt --systemd-cgroup plan --bundle web web1", "with systemd's cgroups, for this ID"),
        ("ocirt plan --bundle old --diff new", "what another bundle would do otherwise"),
    ),
    "trace": (
        ("ocirt trace view start.json", "a chart of what ocirt --trace start.json start web1 has written"),
        ("ocirt trace view --min 1ms start.json", "only what took a millisecond or more"),
    ),
    "seccomp": (
        ("ocirt seccomp test profile.json mount", "what the profile does with a system call"),
        ("ocirt seccomp diff old.json new.json", "which calls one lets pass and the other does not"),
    ),
    "check": (
        ("ocirt check web", "errors and advice, a line each"),
        ("ocirt check --strict --format sarif web >ocirt.sarif", "for CI: advice fails too"),
        ("ocirt check --host web", "ask this machine too"),
    ),
}
