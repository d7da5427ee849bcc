# containerd with ctr, and no CRI: runtime io.containerd.runc.v2 with --runc-binary.

### prepare
cat >"$WORK/containerd.toml" <<TOML
version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri"]
TOML
daemon containerd containerd --config "$WORK/containerd.toml"
cat >"$WORK/bin/up" <<'SH'
#!/bin/sh
exec ctr run --runc-binary "$RUNTIME" "$@"
SH
cat >"$WORK/bin/ex" <<'SH'
#!/bin/sh
exec ctr tasks exec --exec-id "x$$" "$@"
SH
cat >"$WORK/bin/clear-all" <<'SH'
#!/bin/sh
for id in $(ctr tasks ls -q); do ctr tasks rm -f "$id" >/dev/null 2>&1; done
for id in $(ctr containers ls -q); do ctr containers rm "$id"; done
[ -z "$(ctr containers ls -q)" ]
SH
chmod +x "$WORK/bin/ex" "$WORK/bin/up" "$WORK/bin/clear-all"
soon ctr version
rootfs "$WORK/rootfs"
python3 "$HERE/archive.py" "$WORK/rootfs" docker.io/library/box:latest "$WORK/box.tar"
ctr image import "$WORK/box.tar"
ctr image tag docker.io/library/box:latest box

### after each
soon clear-all
lacks shim ps -A -o comm
is '' sh -c 'ls /run/containerd/runc/default 2>/dev/null || true'

### end
clear-all
end_daemon containerd

### keeps
cgroup .*/default
mount /run/containerd.*

## run: output, status, removal
is hi up --rm box r1 echo hi
ends 3 up --rm box r2 sh -c 'exit 3'

## the runtime is the one that was asked for
has "OCI runtime create failed: $RUNTIME_NAME create" up --rm box w1 no-such-program

## run: what cannot be executed
has 'executable file not found in \$PATH' up --rm box x1 no-such-program
has 'no such file or directory' up --rm box x2 /no/such/program
has 'permission denied' up --rm box x3 /etc/passwd

## run --tty
has '^terminal' on_terminal up --rm -t box t1 sh -c 'test -t 0 && test -t 1 && echo terminal'
ends 4 on_terminal up --rm -t box t2 sh -c 'exit 4'

## run -d, tasks ls, kill, delete
up -d box d1 sleep 1000
has 'd1 +[0-9]+ +RUNNING' ctr tasks ls
ctr tasks kill -s TERM d1 || true
ctr tasks kill -s KILL d1 || true
soon has 'd1 +[0-9]+ +STOPPED' ctr tasks ls
has 'exit code 137' ctr tasks delete d1

## run -d with a terminal nobody is at
on_terminal up -d -t box dt1 sh -c 'test -t 0; sleep 1000'
has RUNNING ctr tasks ls

## kill by name; a second kill says that it is gone
up -d box c2 sh -c 'trap "exit 6" USR1; while :; do sleep 0.1; done'
soon ex c2 true
ctr tasks kill -s USR1 c2
soon has 'c2 +[0-9]+ +STOPPED' ctr tasks ls
has 'not found|already finished' ctr tasks kill c2
has 'exit code 6' ctr tasks delete c2

## delete of a running task needs force
up -d box df1 sleep 1000
has 'must be stopped' ctr tasks delete df1
ctr tasks delete -f df1 || [ $? = 137 ]

## exec: output, status, input, directory, user, terminal
up -d box e1 sleep 1000
is hi ex e1 echo hi
ends 7 ex e1 sh -c 'exit 7'
is /tmp ex --cwd /tmp e1 pwd
is 1000 ex --user 1000 e1 id -u
has '^terminal' on_terminal ex -t e1 sh -c 'test -t 0 && echo terminal'

## exec -d
up -d box e3 sleep 1000
ex -d e3 sh -c 'echo x >/tmp/x; sleep 1000'
soon ex e3 test -e /tmp/x

## exec: what cannot be executed
up -d box e2 sleep 1000
has 'executable file not found in \$PATH' ex e2 no-such-program
has 'permission denied' ex e2 /etc/passwd
has 'no such file or directory' ex e2 /no/such
is hi ex e2 echo hi

## pause, resume
up -d box p1 sleep 1000
ctr tasks pause p1
has 'p1 +[0-9]+ +PAUSED' ctr tasks ls
has 'paused' ex p1 true
ctr tasks resume p1
soon is hi ex p1 echo hi  # ctr may miss a short output

## kill of a paused task
up -d box p2 sleep 1000
ctr tasks pause p2
ctr tasks kill -s KILL p2
soon has 'p2 +[0-9]+ +STOPPED' ctr tasks ls

## ps, metrics
up -d box m1 sleep 1000
ex -d m1 sleep 999
soon sh -c '[ $(ctr tasks ps m1 | grep -c "[0-9]") = 2 ]'
has 'memory.usage_in_bytes' ctr tasks metrics m1
has 'pids.current *2' ctr tasks metrics m1

## events: out of memory, and the exit status
setsid ctr events >"$WORK/tmp/events" 2>&1 &
up --memory-limit 33554432 box o1 sh -c 'dd if=/dev/zero of=/dev/null bs=256M count=1; exit 137' || [ $? = 137 ]
soon grep -q '/tasks/oom.*o1' "$WORK/tmp/events"
soon grep -q '/tasks/exit.*o1' "$WORK/tmp/events"
kill %1

## memory, cpu
has '33554432' up --rm --memory-limit 33554432 --mount type=bind,src=/sys/fs/cgroup,dst=/cg,options=rbind:ro box l2 cat /cg/memory/default/l2/memory.limit_in_bytes
has 50000 up --rm --cpus 0.5 --mount type=bind,src=/sys/fs/cgroup,dst=/cg,options=rbind:ro box l3 cat /cg/cpu/default/l3/cpu.cfs_quota_us

## update through the API is docker's and CRI's; tasks stay in their cgroup
up -d --cgroup /default/own box u1 sleep 1000
has ':pids:/default/own' cat "/proc/$(ctr tasks ls | awk '/u1/{print $2}')/cgroup"

## read-only, environment, directory, user, host network
has 'Read-only' up --rm --read-only box o1 touch /x
is b up --rm --env A=b box o2 sh -c 'echo $A'
is /tmp up --rm --cwd /tmp box o3 pwd
is "$(readlink /proc/self/ns/net)" up --rm --net-host box o5 readlink /proc/self/ns/net

## mounts
mkdir -p "$WORK/tmp/vol"; echo data >"$WORK/tmp/vol/f"
is data up --rm --mount "type=bind,src=$WORK/tmp/vol,dst=/vol,options=rbind:ro" box v1 cat /vol/f
has 'Read-only' up --rm --mount "type=bind,src=$WORK/tmp/vol,dst=/vol,options=rbind:ro" box v2 touch /vol/g

## capabilities, seccomp, no_new_privs, privileged
has '^0*' up --rm --cap-drop CAP_CHOWN box s0 true
has 'not permitted' up --rm --cap-drop CAP_CHOWN box s1 chown 1 /tmp
is 2 up --rm --seccomp box s2 sh -c 'awk "/^Seccomp:/{print \$2}" /proc/self/status'
is 1 up --rm box s3 sh -c 'awk "/NoNewPrivs/{print \$2}" /proc/self/status'
is 0 up --rm --allow-new-privs box s4 sh -c 'awk "/NoNewPrivs/{print \$2}" /proc/self/status'
up --rm --privileged box s5 mount -t tmpfs t /tmp

## devices
has '10, *229' up --rm --device /dev/fuse box dv1 ls -l /dev/fuse

## namespaces of another task
up -d box n1 sleep 4321
pid=$(ctr tasks ls | awk '/n1/{print $2}')
has 'sleep 4321' up --rm --with-ns "pid:/proc/$pid/ns/pid" box n2 ps

## no pivot_root
is hi up --rm --no-pivot box np1 echo hi || skip 'ctr has no --no-pivot here'

## pid file
up -d --pid-file "$WORK/tmp/pid" box pf1 sleep 1000
is "$(ctr tasks ls | awk '/pf1/{print $2}')" cat "$WORK/tmp/pid"

## init is killed behind the engine's back
up -d box kb1 sleep 1000
kill -9 "$(ctr tasks ls | awk '/kb1/{print $2}')"
soon has 'kb1 +[0-9]+ +STOPPED' ctr tasks ls
has 'exit code 137' ctr tasks delete kb1

## the shim is killed: what it leaves can be removed
up -d box ks1 sleep 1000
pid=$(ctr tasks ls | awk '/ks1/{print $2}')
kill -9 "$(awk '/^PPid/{print $2}' "/proc/$pid/status")"
soon gone "$pid"
soon sh -c 'ctr tasks rm -f ks1 || ! ctr tasks ls | grep ks1'

## containerd is restarted: tasks go on
up -d box cr1 sleep 1000
end_daemon containerd
daemon containerd containerd --config "$WORK/containerd.toml"
soon ctr version
has 'cr1 +[0-9]+ +RUNNING' ctr tasks ls
is hi ex cr1 echo hi

## 100 execs at once, without an error or a zombie
# limit: 300
up -d box many sleep 1000
# what counts is the exit status and what was done: ctr itself may miss a short output
for n in $(seq 100); do { ex many sh -c "echo $n >/tmp/$n; exit 9" || echo $? >"$WORK/tmp/exec.$n"; } & done
wait
is 100 sh -c 'cat "$WORK"/tmp/exec.* | grep -cx 9'
soon is 100 sh -c 'ex many ls /tmp | wc -l'
soon sh -c '! ps -A -o stat,comm | grep "^Z.*\(sleep\|echo\|runc\|ocirt\|python\)"'
soon sh -c '[ $(ctr tasks ps many | grep -c "[0-9]") = 1 ]'

## 20 creates at once, without an error or a leftover
# limit: 300
for n in $(seq 20); do { up --rm box "c$n" sh -c 'exit 9' || echo $? >"$WORK/tmp/create.$n"; } & done
wait
is 20 sh -c 'cat "$WORK"/tmp/create.* | grep -cx 9'
is '' ctr tasks ls -q
soon sh -c '! ps -A -o stat,comm | grep "^Z"'
lacks '/c[0-9]+$' find /sys/fs/cgroup -type d
