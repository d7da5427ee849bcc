# What every check can use.  A check runs with -eu; the first command that fails fails it.

fail() { local said="$*"; echo "${said//$'\n'/ }"; exit 1; }  # in one line: the last one goes into the table
skip() { echo "$*"; exit 77; }

# is WANT COMMAND...: it succeeds and prints exactly WANT (trailing newlines and carriage returns aside)
is() {
    local want=$1 got status=0; shift
    got=$("$@" 2>"$WORK/tmp/stderr" | tr -d '\r') || status=$?
    [ "$status $got" != "0 $want" ] || return 0
    cat "$WORK/tmp/stderr"
    [ $status = 0 ] || fail "status $status, stderr '$(tail -n 1 "$WORK/tmp/stderr")', stdout '$got': $*"
    fail "printed '$got' instead of '$want': $*"
}

# has PATTERN COMMAND...: it prints, on stdout or stderr, something that the extended regular expression matches
has() {
    local want=$1 got status=0; shift
    got=$("$@" 2>&1) || status=$?
    grep -Eq -e "$want" <<<"$got" || fail "status $status, printed '$got' where '$want' was expected: $*"
}

# lacks PATTERN COMMAND...: it succeeds and prints nothing that matches
lacks() {
    local want=$1 got; shift
    got=$("$@" 2>&1) || fail "status $?, printed '$got': $*"
    ! grep -Eq -e "$want" <<<"$got" || fail "printed '$got' where '$want' should not be: $*"
}

# ends STATUS COMMAND...: it ends with that exit status
ends() {
    local want=$1 got=0; shift
    "$@" || got=$?
    [ "$got" = "$want" ] || fail "status $got instead of $want: $*"
}

# soon COMMAND...: it succeeds within 30 seconds, or within $SOON
soon() {
    local deadline=$((SECONDS + ${SOON:-30}))
    until (set +x; "$@") >"$WORK/tmp/soon" 2>&1; do
        [ $SECONDS -lt $deadline ] || { cat "$WORK/tmp/soon"; fail "not within ${SOON:-30} seconds: $*"; }
        read -rt 0.1 <><(:) || true
    done
}

# on_terminal COMMAND...: on a pseudoterminal of 40 rows and 100 columns
on_terminal() { python3 "$HERE/terminal.py" "$@"; }

# daemon NAME COMMAND...: in the background, its output in the log directory
daemon() {
    local name=$1; shift
    setsid "$@" >"$WORK/log/$name.log" 2>&1 </dev/null &
    echo $! >"$WORK/tmp/$name.pid"
}

# end_daemon NAME: ask it to end, and wait until it has
end_daemon() {
    local pid; pid=$(cat "$WORK/tmp/$1.pid")
    kill -TERM "$pid" 2>/dev/null || return 0
    soon gone "$pid"
}
gone() { [ ! -e "/proc/$1" ]; }

# rootfs DIR: a root file system of busybox, with a user, and a web page that says "page"
rootfs() {
    local applet
    mkdir -p "$1"/{bin,dev,etc,home/user,proc,sys,tmp,var,www}
    cp "$(command -v busybox)" "$1/bin/busybox"
    for applet in $("$1/bin/busybox" --list); do [ -e "$1/bin/$applet" ] || ln -s busybox "$1/bin/$applet"; done
    printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n' >"$1/etc/passwd"
    printf 'root:x:0:\nuser:x:1000:\n' >"$1/etc/group"
    echo page >"$1/www/index.html"
    chmod 1777 "$1/tmp"
    chown 1000:1000 "$1/home/user"
}

# health NAME STATE: the state of a container's health check, which podman only looks at when it is asked to
health() {
    [ ! -e "$WORK/containers.conf" ] || engine healthcheck run "$1" || true
    engine inspect -f '{{.State.Health.Status}}' "$1" | grep -qx "$2"
}

# replicas N: the swarm's service web has that many running tasks
replicas() { node a docker service ls -f name=web --format '{{.Replicas}}' | grep -qx "$1/$1"; }
