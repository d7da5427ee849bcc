# podman of an ordinary user: user namespace by newuidmap, no rights over cgroups, network by slirp4netns.

### prepare
# /etc is the place's own.
command -v newuidmap || skip 'no newuidmap: install uidmap'
echo "ocirt-user:x:4242:4242::$WORK/home-user:/bin/sh" >>/etc/passwd
echo 'ocirt-user:x:4242:' >>/etc/group
echo 'ocirt-user:300000:65536' | tee -a /etc/subuid >>/etc/subgid
mkdir -p "$WORK/home-user" /run/user/4242
chmod 755 "$WORK" "$WORK/bin"; chmod 1777 "$WORK/tmp"
chown 4242:4242 "$WORK/home-user" /run/user/4242
if [ -c /dev/net/tun ]; then
    mknod -m 666 "$WORK/tun" c 10 200
    mount --bind "$WORK/tun" /dev/net/tun
fi
cat >"$WORK/containers.conf" <<CONF
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "$RUNTIME_NAME"
runtime_supports_json = ["$RUNTIME_NAME"]
infra_image = "box"
[engine.runtimes]
$RUNTIME_NAME = ["$RUNTIME"]
CONF
cat >"$WORK/bin/engine" <<'SH'
#!/bin/sh
cd "$WORK/home-user"
exec setpriv --reuid 4242 --regid 4242 --clear-groups --reset-env \
    env PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME="$WORK/home-user" XDG_RUNTIME_DIR=/run/user/4242 TERM=xterm \
    CONTAINERS_CONF="$WORK/containers.conf" podman "$@"
SH
chmod +x "$WORK/bin/engine"
rootfs "$WORK/rootfs"
tar -C "$WORK/rootfs" -c . | engine import -c 'CMD ["sleep", "10000"]' -c 'ENV PATH=/bin' - box
is "$RUNTIME_NAME" engine info -f '{{.Host.OCIRuntime.Name}}'
is true engine info -f '{{.Host.Security.Rootless}}'

### after each
engine pod rm -f -a -t 0 >/dev/null
engine rm -f -a -t 0 >/dev/null
lacks . engine ps -aq

### end
engine pod rm -f -a -t 0
engine rm -f -a -t 0
# podman's pause process holds the user namespace for the next call
kill "$(cat /run/user/4242/libpod/tmp/pause.pid)" || true
umount /dev/net/tun || true

### keeps
mount /run/user/4242.*
mount .*/home-user/.*

## run: output, status, removal
is hi engine run --rm box echo hi
ends 3 engine run --rm box sh -c 'exit 3'
is in engine run --rm -i box cat <<<in

## exit statuses 125, 126, 127
ends 125 engine run --rm --no-such-option box true
ends 126 engine run --rm box /etc/passwd
ends 127 engine run --rm box no-such-program

## run -d, logs, exec, stop, start, kill, rm
engine run -d --name d1 box sh -c 'echo out; sleep 10000'
soon sh -c 'engine logs d1 | grep out'
is hi engine exec d1 echo hi
ends 9 engine exec d1 sh -c 'exit 9'
engine stop -t 0 d1
engine start d1
is hi engine exec d1 echo hi
engine kill d1
is 137 engine wait d1
engine rm d1

## run -it, exec -it: a terminal
has '^terminal' on_terminal engine run --rm -it box sh -c 'test -t 0 && test -c /dev/console && echo terminal'
engine run -d --name t1 box
has '^terminal' on_terminal engine exec -it t1 sh -c 'test -t 0 && echo terminal'

## the user's mapping; root inside is the user outside
has '0 +4242 +1' engine run --rm box cat /proc/self/uid_map
engine run -d --name u1 box
is 4242 stat -c %u "/proc/$(engine inspect -f '{{.State.Pid}}' u1)"
is 1000 engine run --rm -u 1000 box id -u

## --userns keep-id, and a mapping of its own
is 4242 engine run --rm --userns keep-id box id -u
has '0 +1 +500' engine run --rm --uidmap 0:1:500 --gidmap 0:1:500 box cat /proc/self/uid_map

## volumes, read-only, tmpfs
mkdir -p "$WORK/home-user/vol"; chown 4242 "$WORK/home-user/vol"
engine run --rm -v "$WORK/home-user/vol:/vol" box sh -c 'echo made >/vol/file'
is "made 4242" sh -c 'echo $(cat "$WORK/home-user/vol/file") $(stat -c %u "$WORK/home-user/vol/file")'
has 'Read-only' engine run --rm -v "$WORK/home-user/vol:/vol:ro" box touch /vol/other
has 'Read-only' engine run --rm --read-only box touch /x
engine run --rm --read-only --tmpfs /scratch box touch /scratch/x
engine volume create v1
engine run --rm -v v1:/v box touch /v/x
engine volume rm v1

## capabilities, no_new_privs, seccomp
has 'CapEff:.0000000000000000' engine run --rm --cap-drop ALL box cat /proc/self/status
has 'NoNewPrivs:.1' engine run --rm --security-opt no-new-privileges box cat /proc/self/status
has 'Seccomp:.2' engine run --rm box cat /proc/self/status

## the host's devices and /sys, bound
has '1, *3' engine run --rm box ls -l /dev/null
engine run --rm box sh -c 'echo x >/dev/null; ls /sys/class >/dev/null'

## network none and host
is lo engine run --rm --network none box ls /sys/class/net
is "$(readlink /proc/self/ns/net)" engine run --rm --network host box readlink /proc/self/ns/net

## a published port is reached over loopback
engine run -d --name w1 -p 127.0.0.1:8086:80 box httpd -f -h /www
soon sh -c 'busybox wget -qO- http://127.0.0.1:8086/ | grep -x page'

## a pod
engine pod create --name p1
engine run -d --pod p1 box httpd -f -h /www
soon sh -c 'engine run --rm --pod p1 box wget -qO- http://127.0.0.1/ | grep page'
engine pod stop -t 0 p1
engine pod rm -f p1

## healthcheck
engine run -d --name h1 --health-cmd 'test -e /tmp/well' --health-interval disable box
soon health h1 starting
engine exec h1 touch /tmp/well
soon health h1 healthy

## a build
mkdir -p "$WORK/tmp/build"
printf 'FROM box\nRUN echo built >/built && id -u\nUSER 1000\n' >"$WORK/tmp/build/Dockerfile"
engine build --network host --runtime "$RUNTIME" --isolation oci -t built "$WORK/tmp/build"
is built engine run --rm built cat /built

## 10 execs at once
engine run -d --name e1 box
for n in $(seq 10); do engine exec e1 sh -c "echo $n >/tmp/$n" & done
wait
is 10 engine exec e1 sh -c 'ls /tmp | wc -l'
