"""What the manual pages say beyond the tables."""

from __future__ import annotations

EXIT_STATUS = (
    ("0", "It is done."),
    ("1", "It failed; the last line on standard error says why, where in config.json, and what to do about it."),
    ("2", "Of check alone: there was nothing to look at."),
    ("255", "exec failed before its program ran."),
    ("other", "run and exec: the status of the program, 128 + N when signal N ended it."),
)
ENVIRONMENT = (
    ("XDG_RUNTIME_DIR", "For who is not root: containers are recorded in its directory ocirt."),
    ("NOTIFY_SOCKET", "The socket that is told that the program is ready, see sd_notify(3)."),
    ("LISTEN_FDS", "How many descriptors from 3 on the program gets, see sd_listen_fds(3)."),
    ("NO_COLOR", "If set, nothing is coloured; without a terminal nothing is either."),
)
FILES = (
    ("/run/ocirt", "Where root's containers are recorded, if --root does not say otherwise."),
    ("config.json", "What a container is made of, in the bundle's directory."),
)

# Of commands whose one line says too little; the others have it as a sentence.
TEXTS = {
    "create": """\
Makes everything that config.json in the bundle asks for: namespaces, cgroups, mounts, limits. The container's first
process then waits; `ocirt start` lets it execute the program. When anything fails, what was made is taken back.""",
    "start": "Lets a created container execute its program, and returns when it has.",
    "run": """\
Does what create and start do. In the foreground it hands signals and the terminal on, waits for the program,
deletes the container and exits with the program's status.""",
    "exec": """\
Starts one more process in a container that runs, with what config.json says of its process, as far as no option
says otherwise. In the foreground it exits with that process's status; 255 says that it did not start.""",
    "kill": "Sends a signal, by name or number, TERM when none is named.",
    "delete": """\
Removes a container that has ended: its record, its cgroups, what was mounted for it on the host. With --force it is
killed first, and a container that does not exist is no error.""",
    "update": "Changes limits of a container while it runs. What no option names stays as it is.",
    "events": "Prints a line of JSON for each out-of-memory event, and regularly the usage of resources.",
    "gc": """\
A command that was killed with SIGKILL can leave a container behind whose creation did not finish. Such remains are
removed, nothing else is.""",
    "doctor": """\
Without an argument: looks at what containers need of the machine. With one: says what the container waits for. Each
thing that is wrong comes with the line that mends it; the exit status is 1 then.""",
    "features": """\
Prints the features document of the runtime specification. With --probe each facility is tried in a process of its
own which leaves nothing behind.""",
    "trace": """\
Prints what `ocirt --trace FILE COMMAND` has recorded: each stage and step of the runtime and of the container's first
process on one time line, with how long it took.""",
    "plan": """\
Prints every step that create would take, in order, and where it would run; with --diff what another bundle would do
otherwise, as diff -u, with exit status 1 if there is anything. Nothing is done, and nobody needs to be root.""",
    "check": """\
Reads the config.json of a bundle, or the file that is named, or with - standard input, and says everything that is
wrong or dangerous in it: FILE:LINE:COLUMN: LEVEL: SENTENCE [JSON POINTER] (CODE) - REMEDY. An error is what create
would refuse; advice is about dangers, and about words without effect. The exit status is 0 when there are no
errors, 1 when there are (with --strict also when there is advice), and 2 when nothing could be looked at. Nothing
is changed, and nobody needs to be root.""",
    "spec": "Writes a config.json to start from. A file that is there already is left alone.",
    "checkpoint": "Saves memory and state of all processes to files, by CRIU, and ends them unless they are to go on.",
    "restore": "Makes the container anew and lets its processes go on where a checkpoint has saved them, by CRIU.",
}
