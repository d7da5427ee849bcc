# docker: what it shares with podman, and its own.

# include docker-engine.sh

# include shared.sh

## the runtime's name and version are known
has "^$RUNTIME\$|tested" engine info -f '{{.Runtimes}}'
engine run -d --name in1 box
is tested engine inspect -f '{{.HostConfig.Runtime}}' in1

## --runtime beside the default one
is hi engine run --rm --runtime tested box echo hi
is hi engine run --rm --runtime runc box echo hi

## events
since=$(date +%s)
engine run --rm --name v1 box true
soon sh -c "engine events --since $since --until \$(date +%s) | grep 'container start.*v1'"
has 'container die.*exitCode=0.*v1' engine events --since "$since" --until "$(date +%s)"

## events: oom, exec_create, exec_die
since=$(date +%s)
engine run --name v2 -m 32m box sh -c 'dd if=/dev/zero of=/dev/null bs=256M count=1; exit 1' || true
soon sh -c "engine events --since $since --until \$(date +%s) | grep 'container oom.*v2'"

## user namespace of the daemon is another daemon's matter; host user namespace
is "0 0 4294967295" engine run --rm --userns host box sh -c 'echo $(cat /proc/self/uid_map)'

## the engine's errors are the runtime's, in one line
has 'executable file not found in \$PATH' engine run --rm box no-such-program
has 'permission denied' engine run --rm box /etc/passwd
has 'no such file or directory' engine run --rm box /no/such
echo x >"$WORK/tmp/file"
has 'not a directory' engine run --rm -v "$WORK/tmp/file:/etc" box true
engine run -d --name er1 box
has 'executable file not found' engine exec er1 no-such-program
ends 125 engine run --rm -v "$WORK/tmp/file:/etc" box true

## live update of pids, cpus and cpuset
engine run -d --name up2 box
engine update --pids-limit 33 --cpus 0.25 --cpuset-cpus 0 up2
is 33 engine exec up2 cat /sys/fs/cgroup/pids/pids.max
is 25000 engine exec up2 cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us
is 0 engine exec up2 cat /sys/fs/cgroup/cpuset/cpuset.cpus

## attach
engine run -d --name at1 box sh -c 'while :; do echo attached; sleep 0.1; done'
is attached sh -c 'timeout 10 docker attach --no-stdin at1 | head -n 1'

## the daemon is restarted; a container with restart policy comes back
engine run -d --name dr1 --restart always box
end_daemon dockerd
daemon dockerd dockerd
soon engine version
soon sh -c 'engine exec dr1 echo hi | grep hi'

## init is killed behind the engine's back
engine run -d --name kb1 box
kill -9 "$(engine inspect -f '{{.State.Pid}}' kb1)"
is 137 engine wait kb1

## 30 execs at once, as health probes make them
engine run -d --name pr1 --health-cmd true --health-interval 1s box
for n in $(seq 30); do engine exec pr1 sh -c "echo $n >/tmp/$n" & done
wait
is 30 engine exec pr1 sh -c 'ls /tmp | wc -l'
soon health pr1 healthy
soon sh -c '! ps -A -o stat,comm | grep "^Z"'

## logs: follow, tail, since
engine run -d --name lg1 box sh -c 'for n in 1 2 3; do echo $n; done'
engine wait lg1
is 3 engine logs --tail 1 lg1
is "$(printf '1\n2\n3')" engine logs -f lg1

## privileged
engine run --rm --privileged --ulimit nofile=1024:1024 box mount -t tmpfs t /tmp
