# What podman and docker are asked alike.  `engine` is the one or the other with its options; the image is `box`.

## run: output, standard input, removal
is hi engine run --rm --name r1 box echo hi
is from-stdin engine run --rm -i box cat <<<from-stdin
lacks r1 engine ps -a

## exit status of the program
ends 3 engine run --rm box sh -c 'exit 3'
ends 255 engine run --rm box sh -c 'exit 255'
ends 143 engine run --rm box sh -c 'sh -c "kill -TERM \$\$"; exit $?'

## exit status 125: a wrong option
ends 125 engine run --rm --no-such-option box true

## exit status 126: not executable, a directory
ends 126 engine run --rm box /etc/passwd
ends 126 engine run --rm box /etc

## exit status 127: no such program, by name and by path
ends 127 engine run --rm box no-such-program
ends 127 engine run --rm box /no/such/program

## run -d, wait, logs, rm
engine run -d --name d1 box sh -c 'echo out; echo err >&2; exit 7'
is 7 engine wait d1
is out sh -c 'engine logs d1 2>/dev/null'
is err sh -c 'engine logs d1 2>&1 >/dev/null'
engine rm d1
lacks d1 engine ps -a

## run -it: a terminal
has '^terminal' on_terminal engine run --rm -it box sh -c 'test -t 0 && test -t 1 && test -c /dev/console && echo terminal'
soon has '^40 100' on_terminal engine run --rm -it box sh -c 'sleep 0.2; stty size'
ends 5 on_terminal engine run --rm -it box sh -c 'exit 5'

## run -dt: the terminal goes to the logs
engine run -dt --name t1 box sh -c 'test -t 0 && test -t 1 && echo terminal'
is 0 engine wait t1
is terminal engine logs t1

## exec: output, status, standard input, user, directory, environment
engine run -d --name e1 -e FROM=run box sleep 1000
is hi engine exec e1 echo hi
ends 9 engine exec e1 sh -c 'exit 9'
is in engine exec -i e1 cat <<<in
is 1000 engine exec -u 1000 e1 id -u
is user engine exec -u user e1 id -un
is /tmp engine exec -w /tmp e1 pwd
is run-exec engine exec -e TO=exec e1 sh -c 'echo $FROM-$TO'

## exec of what cannot be executed
engine run -d --name e2 box sleep 1000
ends 126 engine exec e2 /etc/passwd
has 'executable file not found' engine exec e2 no-such-program
has 'no such file or directory' engine exec e2 /no/such/program
is hi engine exec e2 echo hi

## exec -it: a terminal
engine run -d --name e3 box sleep 1000
has '^terminal' on_terminal engine exec -it e3 sh -c 'test -t 0 && test -t 1 && echo terminal'
ends 5 on_terminal engine exec -it e3 sh -c 'exit 5'

## exec -d
engine run -d --name e4 box sleep 1000
engine exec -d e4 sh -c 'echo detached >/tmp/mark; sleep 1000'
soon engine exec e4 grep detached /tmp/mark

## 20 execs at once
engine run -d --name e5 box sleep 1000
for n in $(seq 20); do engine exec e5 sh -c "echo $n >/tmp/$n" & done
wait
is 20 engine exec e5 sh -c 'ls /tmp | wc -l'

## stop: SIGTERM, and SIGKILL when it does not help
engine run -d --name s1 box sh -c 'trap "exit 4" TERM; while :; do sleep 0.1; done'
soon engine exec s1 true
engine stop s1
is 4 engine inspect -f '{{.State.ExitCode}}' s1
engine run -d --name s2 box sh -c 'trap "" TERM; while :; do sleep 0.1; done'
engine stop -t 1 s2
is 137 engine inspect -f '{{.State.ExitCode}}' s2

## kill: by name and number, and of what is not running
engine run -d --name k1 box sleep 1000
engine kill k1
is 137 engine wait k1
has 'not running|can only kill running|cannot kill' engine kill k1
engine run -d --name k2 box sh -c 'trap "exit 6" USR1; while :; do sleep 0.1; done'
soon engine exec k2 true
engine kill -s USR1 k2
is 6 engine wait k2

## start again, restart
engine run -d --name a1 box sh -c 'echo x >>/tmp/starts; sleep 1000'
soon engine exec a1 test -e /tmp/starts
engine restart -t 0 a1
soon engine exec a1 test -e /tmp/starts
engine stop -t 0 a1
engine start a1
soon sh -c 'engine exec a1 grep -c x /tmp/starts | grep 3'

## create, start, attach
engine create --name c1 -i box cat
is attached engine start -a -i c1 <<<attached

## pause and unpause
engine run -d --name p1 box sleep 1000
engine pause p1
is paused engine inspect -f '{{.State.Status}}' p1
ends 1 sh -c 'engine exec p1 true || exit 1'
engine unpause p1
is hi engine exec p1 echo hi

## rename
engine run -d --name n1 box sleep 1000
engine rename n1 n2
is hi engine exec n2 echo hi

## top
engine run -d --name t2 box sleep 1234
has 'sleep 1234' engine top t2
has 'sleep' engine top t2 -o pid,comm || has sleep engine top t2 pid comm

## stats
engine run -d --name u1 -m 64m box sleep 1000
has '67.11MB|64MiB' engine stats --no-stream u1

## inspect: pid, runtime, state
engine run -d --name i1 box sleep 1000
is sleep sh -c 'cat /proc/$(engine inspect -f "{{.State.Pid}}" i1)/comm'
is running engine inspect -f '{{.State.Status}}' i1

## memory limit
is 33554432 engine run --rm -m 32m box cat /sys/fs/cgroup/memory/memory.limit_in_bytes

## memory: killed when it takes more, and the engine knows
rm -f oom
engine run -d --name m1 -m 32m box sh -c 'dd if=/dev/zero of=/dev/null bs=256M count=1; echo $?; sleep 1; exit 137'
engine wait m1
is 137 engine logs m1
# conmon 2.1 leaves its mark in podman's working directory, where podman does not look for it
[ "$(engine inspect -f '{{.State.OOMKilled}}' m1)" = true ] || [ -e oom ] || fail 'nobody saw it'

## cpu: shares, quota, cpuset
is 512 engine run --rm -c 512 box cat /sys/fs/cgroup/cpu/cpu.shares
is 50000 engine run --rm --cpus 0.5 box cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us
is 0 engine run --rm --cpuset-cpus 0 box cat /sys/fs/cgroup/cpuset/cpuset.cpus
is 1 engine run --rm --cpuset-cpus 0 box nproc

## pids limit
is 20 engine run --rm --pids-limit 20 box cat /sys/fs/cgroup/pids/pids.max
has "can't fork|Resource temporarily" engine run --rm --pids-limit 5 box sh -c 'for n in 1 2 3 4 5 6 7 8; do sleep 5 & done'

## block I/O weight or its absence
engine run --rm --blkio-weight 300 box true || skip 'this kernel has no weights'

## ulimits
is 100 engine run --rm --ulimit nofile=100:100 --ulimit nproc=1024:1024 box sh -c 'ulimit -n'

## read-only root
has 'Read-only file system' engine run --rm --read-only box touch /file
engine run --rm --read-only --tmpfs /scratch box touch /scratch/file

## capabilities
is 0000000000000000 engine run --rm --cap-drop ALL box sh -c 'awk "/CapEff/{print \$2}" /proc/self/status'
is 0000000000000400 engine run --rm --cap-drop ALL --cap-add NET_BIND_SERVICE box sh -c 'awk "/CapEff/{print \$2}" /proc/self/status'
has 'Operation not permitted' engine run --rm --cap-drop CHOWN box chown 1 /tmp
engine run --rm --cap-add SYS_ADMIN box mount -t tmpfs tmpfs /mnt || engine run --rm --cap-add SYS_ADMIN box mount -t tmpfs tmpfs /tmp

## user and groups
is 1000:1000 engine run --rm -u 1000:1000 box sh -c 'echo $(id -u):$(id -g)'
is user engine run --rm -u user box id -un
has '\b77\b' engine run --rm -u 1000 --group-add 77 box id -G

## no_new_privs
is 1 engine run --rm --security-opt no-new-privileges box sh -c 'awk "/NoNewPrivs/{print \$2}" /proc/self/status'

## seccomp: the default profile
is 2 engine run --rm box sh -c 'awk "/^Seccomp:/{print \$2}" /proc/self/status'
has 'not permitted' engine run --rm --cap-add SYS_ADMIN box swapoff /none
has 'No such file' engine run --rm --cap-add SYS_ADMIN --security-opt seccomp=unconfined box swapoff /none

## seccomp: a profile of one's own, and unconfined
cat >"$WORK/tmp/profile.json" <<'JSON'
{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}
JSON
has 'not permitted' engine run --rm --security-opt seccomp="$WORK/tmp/profile.json" box mkdir /tmp/dir
engine run --rm --security-opt seccomp="$WORK/tmp/profile.json" box touch /tmp/file
is 0 engine run --rm --security-opt seccomp=unconfined box sh -c 'awk "/^Seccomp:/{print \$2}" /proc/self/status'

## hostname, hosts, dns
is there engine run --rm --hostname there box hostname
has '192.0.2.7' engine run --rm --add-host far:192.0.2.7 box cat /etc/hosts
has '192.0.2.53' engine run --rm --dns 192.0.2.53 box cat /etc/resolv.conf

## environment and working directory
is b engine run --rm -e A=b box sh -c 'echo $A'
is /etc engine run --rm -w /etc box pwd
is / engine run --rm box sh -c 'cd; pwd | sed s,/root,/,'

## volumes: a bind, read-only, and a named one
mkdir -p "$WORK/tmp/vol"; echo data >"$WORK/tmp/vol/file"
is data engine run --rm -v "$WORK/tmp/vol:/vol" box cat /vol/file
engine run --rm -v "$WORK/tmp/vol:/vol" box sh -c 'echo new >/vol/made'
is new cat "$WORK/tmp/vol/made"
has 'Read-only' engine run --rm -v "$WORK/tmp/vol:/vol:ro" box touch /vol/other
engine volume create v1
engine run --rm -v v1:/vol box sh -c 'echo kept >/vol/file'
is kept engine run --rm -v v1:/vol box cat /vol/file
engine volume rm v1

## volumes: a single file
echo one >"$WORK/tmp/one"
is one engine run --rm -v "$WORK/tmp/one:/etc/one" box cat /etc/one

## volumes: propagation
mkdir -p "$WORK/tmp/prop/sub"
mount --bind "$WORK/tmp/prop" "$WORK/tmp/prop"; mount --make-shared "$WORK/tmp/prop"
engine run -d --name pr1 -v "$WORK/tmp/prop:/prop:rslave" box sleep 1000
engine run -d --name pr2 -v "$WORK/tmp/prop:/prop:rprivate" box sleep 1000
engine run --rm --cap-add SYS_ADMIN --security-opt seccomp=unconfined -v "$WORK/tmp/prop:/prop:rshared" box mount -t tmpfs inner /prop/sub
has inner cat /proc/self/mountinfo
has inner engine exec pr1 cat /proc/self/mountinfo
lacks inner engine exec pr2 cat /proc/self/mountinfo
engine kill pr1 pr2
engine rm -f pr1 pr2
umount "$WORK/tmp/prop/sub" "$WORK/tmp/prop"

## tmpfs with options
has 'tmpfs /scratch tmpfs .*noexec.*size=1024k' engine run --rm --tmpfs /scratch:size=1m,noexec box cat /proc/mounts

## shared memory
has '/dev/shm tmpfs .*size=2048k' engine run --rm --shm-size 2m box cat /proc/mounts

## devices
has '10, *200' engine run --rm --device /dev/net/tun box ls -l /dev/net/tun
has '10, *229' engine run --rm --device /dev/fuse:/dev/other box ls -l /dev/other
has 'not permitted' engine run --rm --device /dev/fuse:/dev/other:r box sh -c 'echo >/dev/other'
has 'File descriptor in bad state|bad state' engine run --rm --device /dev/net/tun box sh -c 'echo >/dev/net/tun'
has 'not permitted' engine run --rm --cap-add MKNOD box sh -c 'mknod /tmp/fuse c 10 229 && cat /tmp/fuse'

## device limits
engine run --rm --device-read-bps /dev/vda:1mb box true || skip 'no /dev/vda'

## sysctl
is 1024 engine run --rm --sysctl net.core.somaxconn=1024 box cat /proc/sys/net/core/somaxconn

## masked and read-only paths of /proc
is 0 engine run --rm box sh -c 'wc -c </proc/timer_list'
has 'Read-only' engine run --rm box sh -c 'echo 1 >/proc/sys/vm/swappiness'

## the host's namespaces: network, pid, ipc, uts
is "$(readlink /proc/self/ns/net)" engine run --rm --network host box readlink /proc/self/ns/net
is "$(readlink /proc/self/ns/pid)" engine run --rm --pid host box readlink /proc/self/ns/pid
is "$(readlink /proc/self/ns/ipc)" engine run --rm --ipc host box readlink /proc/self/ns/ipc
is "$(readlink /proc/self/ns/uts)" engine run --rm --uts host box readlink /proc/self/ns/uts

## another container's namespaces
engine run -d --name ns1 --ipc shareable box sleep 4321
is "$(engine exec ns1 readlink /proc/self/ns/net)" engine run --rm --network container:ns1 box readlink /proc/self/ns/net
has 'sleep 4321' engine run --rm --pid container:ns1 box ps
is "$(engine exec ns1 readlink /proc/self/ns/ipc)" engine run --rm --ipc container:ns1 box readlink /proc/self/ns/ipc

## cgroup namespace: private and host
lacks ':/.' engine run --rm --cgroupns private box cat /proc/self/cgroup
has ':/.*[0-9a-f]{64}' engine run --rm --cgroupns host box cat /proc/self/cgroup

## cgroup parent
has ':pids:/mine' engine run --rm --cgroupns host --cgroup-parent /mine box cat /proc/self/cgroup

## no network
is lo engine run --rm --network none box sh -c 'ls /sys/class/net'

## a published port is reached over loopback
engine run -d --name w1 -p 127.0.0.1:8081:80 box httpd -f -h /www
soon sh -c 'busybox wget -qO- http://127.0.0.1:8081/ | grep -x page'

## containers reach each other on a network of their own
engine network create net1
engine run -d --name w3 --network net1 box httpd -f -h /www
ip=$(engine inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' w3)
is page engine run --rm --network net1 box wget -qO- "http://$ip/"
engine kill w3
engine rm -f w3
engine network rm net1

## healthcheck
engine run -d --name h1 --health-cmd 'test -e /tmp/well' --health-interval 1s --health-retries 2 box sleep 1000
soon health h1 unhealthy
engine exec h1 touch /tmp/well
soon health h1 healthy

## restart policy: on failure, so often
engine run -d --name rp1 --restart on-failure:2 box sh -c 'exit 1'
soon sh -c 'engine inspect -f "{{.RestartCount}} {{.State.Status}}" rp1 | grep -E "2 (exited|stopped)"'

## restart policy: always
engine run -d --name rp2 --restart always box sh -c 'sleep 0.2'
soon sh -c '[ $(engine inspect -f "{{.RestartCount}}" rp2) -ge 2 ]'
engine rm -f rp2

## --init reaps
is 0 engine run --rm --init box sh -c 'for n in 1 2 3; do (sleep 0 & exec true) & done; sleep 0.5; ps -o stat | grep -c Z || true'
lacks '^1 .*sleep' engine run --rm --init box ps

## labels, cp, diff, commit
engine run -d --name l1 --label a=b box sh -c 'echo made >/made; sleep 1000'
soon engine exec l1 test -e /made
is b engine inspect -f '{{.Config.Labels.a}}' l1
engine cp l1:/made "$WORK/tmp/made"
is made cat "$WORK/tmp/made"
has 'A /made' engine diff l1
engine commit l1 committed >/dev/null
is made engine run --rm committed cat /made
engine rmi -f committed

## update: memory and cpu of a running container
engine run -d --name up1 -m 64m box sleep 1000
engine update -m 32m --memory-swap 32m --cpu-shares 256 up1
is 33554432 engine exec up1 cat /sys/fs/cgroup/memory/memory.limit_in_bytes
is 256 engine exec up1 cat /sys/fs/cgroup/cpu/cpu.shares

## a build: RUN, WORKDIR, USER, ENTRYPOINT
mkdir -p "$WORK/tmp/build"
cat >"$WORK/tmp/build/Dockerfile" <<'FILE'
FROM box
RUN echo built >/built
WORKDIR /work
USER 1000
ENTRYPOINT ["sh", "-c", "cat /built; pwd; id -u"]
FILE
engine build -t built "$WORK/tmp/build"
is "$(printf 'built\n/work\n1000')" engine run --rm built
engine rmi -f built

## 10 containers at once
for n in $(seq 10); do engine run -d --name "many$n" box sleep 1000 & done
wait
is 10 sh -c 'engine ps -q --filter name=many | wc -l'
ids=$(engine ps -q --filter name=many)
engine kill $ids
engine rm -f $ids
lacks many engine ps -a
