#!/bin/sh
# A container by hand, step by step: what `make demo` runs.  Usage: docs/demo.sh [path of ocirt]; as root.
set -eu
ocirt=${1:-ocirt}
bundle=$(mktemp -d /tmp/ocirt-demo.XXXXXX)
trap '"$ocirt" delete --force ocirt-demo >/dev/null 2>&1 || true; rm -rf "$bundle"' EXIT

# Write config.json anew, with the given process.args.
configure() {
    rm -f "$bundle/config.json"
    "$ocirt" spec --bundle "$bundle"
    python3 - "$bundle/config.json" "$@" <<'EDIT'
import json, sys
path, *args = sys.argv[1:]
with open(path) as file:
    config = json.load(file)
config["process"].update(terminal=False, args=args)
config["hostname"] = "demo"
with open(path, "w") as file:
    json.dump(config, file, indent=2)
EDIT
}

echo "1. A bundle: a root file system made of busybox, and the config.json of 'ocirt spec'"
mkdir -p "$bundle/rootfs/bin"
cp "$(command -v busybox)" "$bundle/rootfs/bin/busybox"
for name in sh ps id hostname wc ls grep uname sleep; do ln -s busybox "$bundle/rootfs/bin/$name"; done
cat >"$bundle/rootfs/hello" <<'INSIDE'
echo "   hostname      $(hostname)"
echo "   user          $(id -u):$(id -g)"
echo "   kernel        $(uname -sr)"
echo "   mounts        $(wc -l </proc/self/mountinfo)"
echo "   capabilities  $(grep CapEff /proc/self/status)"
echo "   /             $(echo /*)"
echo "   processes"
ps -o pid,user,args | while read -r line; do echo "                 $line"; done
INSIDE

echo "2. ocirt run ocirt-demo: the container says"
configure sh /hello
"$ocirt" run --bundle "$bundle" ocirt-demo

echo "3. The same in single steps: create, start, exec, state, kill, delete"
configure sleep 60
"$ocirt" create --bundle "$bundle" ocirt-demo </dev/null >/dev/null 2>&1
"$ocirt" start ocirt-demo
"$ocirt" exec ocirt-demo sh -c 'echo "   a second process, PID $$, beside: $(ps -o pid,args | grep "[s]leep 60")"'
"$ocirt" state ocirt-demo
"$ocirt" kill ocirt-demo KILL
until "$ocirt" state ocirt-demo | grep -q stopped; do sleep 0.05; done
"$ocirt" delete ocirt-demo
echo "   gone: $("$ocirt" state ocirt-demo 2>&1 || true)"
