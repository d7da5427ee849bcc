# podman, as root, with cgroupfs and no registry.

### prepare
cat >"$WORK/containers.conf" <<CONF
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "$RUNTIME_NAME"
runtime_supports_json = ["$RUNTIME_NAME"]
runtime_supports_nocgroup = ["ocirt", "crun"]
infra_image = "box"
[engine.runtimes]
$RUNTIME_NAME = ["$RUNTIME"]
CONF
cat >"$WORK/bin/engine" <<'SH'
#!/bin/sh
CONTAINERS_CONF=$WORK/containers.conf exec podman "$@"
SH
chmod +x "$WORK/bin/engine"
rootfs "$WORK/rootfs"
tar -C "$WORK/rootfs" -c . | engine import -c 'CMD ["sleep", "10000"]' -c 'ENV PATH=/bin' - box
is "$RUNTIME_NAME" engine info -f '{{.Host.OCIRuntime.Name}}'

### after each
engine pod rm -f -a -t 0 >/dev/null
engine rm -f -a -t 0 >/dev/null
lacks . engine ps -aq

### end
engine pod rm -f -a -t 0
engine rm -f -a -t 0
engine network prune -f
ip link delete cni-podman0 || true

### keeps
cgroup .*/(libpod_parent|mine)(/conmon)?
mount /run/netns

# include shared.sh

## events
engine run --rm --name v1 box true
has 'start' engine events --stream=false --filter container=v1
has 'died' engine events --stream=false --filter container=v1

## no cgroup at all: --cgroups=disabled
is yes engine run --rm --cgroups disabled box echo yes
engine run -d --name nc1 --cgroups disabled box sleep 1000
is hi engine exec nc1 echo hi
is "$(cat /proc/self/cgroup)" cat "/proc/$(engine inspect -f '{{.State.Pid}}' nc1)/cgroup"
engine stop -t 1 nc1

## split cgroups: --cgroups=no-conmon
is yes engine run --rm --cgroups no-conmon box echo yes

## user namespace: a mapping of one's own
is "0 100000 1000" engine run --rm --uidmap 0:100000:1000 --gidmap 0:100000:1000 box sh -c 'echo $(cat /proc/self/uid_map)'
engine run -d --name un1 --uidmap 0:100000:1000 --gidmap 0:100000:1000 box sleep 1000
is 0 engine exec un1 id -u
is 100000 stat -c %u "/proc/$(engine inspect -f '{{.State.Pid}}' un1)"
has ok engine exec un1 sh -c 'touch /tmp/x && mount | grep -q proc && echo ok'

## the engine's errors are the runtime's, in one line
has 'executable file not found' engine run --rm box no-such-program
has '[Pp]ermission denied' engine run --rm box /etc/passwd
engine run -d --name er1 box sleep 1000
has 'executable file not found' engine exec er1 no-such-program
has 'permission denied' engine exec er1 /etc/passwd

## pod: shared network and hostname, start, stop, pause, remove
engine pod create --name pod1 -p 127.0.0.1:8083:80
engine run -d --pod pod1 --name in1 box httpd -f -h /www
is page engine run --rm --pod pod1 box wget -qO- http://127.0.0.1/
soon sh -c 'busybox wget -qO- http://127.0.0.1:8083/ | grep -x page'
engine pod pause pod1
engine pod unpause pod1
engine pod stop -t 1 pod1
engine pod start pod1
soon sh -c 'busybox wget -qO- http://127.0.0.1:8083/ | grep -x page'
engine pod rm -f -t 0 pod1
lacks . engine ps -aq

## pod: shared pid namespace
engine pod create --name pod2 --share pid,net,ipc
engine run -d --pod pod2 box sleep 7654
has 'sleep 7654' engine run --rm --pod pod2 box ps

## play kube and down
cat >"$WORK/tmp/pod.yaml" <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: played}
spec:
  containers:
  - name: web
    image: localhost/box
    imagePullPolicy: Never
    command: [httpd, -f, -h, /www]
    ports: [{containerPort: 80, hostPort: 8084, hostIP: 127.0.0.1}]
    resources: {limits: {memory: 64Mi, cpu: 500m}}
    securityContext: {readOnlyRootFilesystem: true}
  - name: other
    image: localhost/box
    imagePullPolicy: Never
    command: [sleep, "1000"]
    volumeMounts: [{name: scratch, mountPath: /scratch}]
  volumes: [{name: scratch, emptyDir: {}}]
YAML
engine play kube "$WORK/tmp/pod.yaml"
soon sh -c 'busybox wget -qO- http://127.0.0.1:8084/ | grep -x page'
is 67108864 engine exec played-web cat /sys/fs/cgroup/memory/memory.limit_in_bytes
engine exec played-other touch /scratch/file
engine play kube --down "$WORK/tmp/pod.yaml"
lacks . engine ps -aq

## hooks of an OCI hooks directory
mkdir -p "$WORK/tmp/hooks"
cat >"$WORK/tmp/hooks/hook.sh" <<SH
#!/bin/sh
echo "\$1 \$(grep -o '"status": *"[a-z]*"' | tr -d ' ')" >>$WORK/tmp/hooks/log
SH
chmod +x "$WORK/tmp/hooks/hook.sh"
for stage in prestart createRuntime createContainer poststart poststop; do
    cat >"$WORK/tmp/hooks/$stage.json" <<JSON
{"version": "1.0.0", "hook": {"path": "$WORK/tmp/hooks/hook.sh", "args": ["hook", "$stage"]}, "when": {"always": true}, "stages": ["$stage"]}
JSON
done
engine --hooks-dir "$WORK/tmp/hooks" run --rm box true
is "$(printf '%s\n' 'prestart "status":"creat' 'createRuntime "status":"creat' 'createContainer "status":"creat' 'poststart' 'poststop "status":"stopped"')" \
    sed -E 's/(creat)(ing|ed)"/\1/; s/(poststart).*/\1/' "$WORK/tmp/hooks/log"

## preserved descriptors
exec 3<<<third
is third engine run --rm --preserve-fds 1 box sh -c 'cat <&3'

## sd_notify: READY of the container reaches the caller's socket
cat >"$WORK/tmp/listen.py" <<'PY'
import socket, subprocess, sys, os
path = os.environ["WORK"] + "/tmp/notify"
here = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
here.bind(path)
os.chmod(path, 0o777)
here.settimeout(30)
done = subprocess.Popen(["engine", "run", "--rm", "--sdnotify", sys.argv[1], "-v", os.environ["WORK"] + "/tmp:/host", "box", *sys.argv[2:]], env=os.environ | {"NOTIFY_SOCKET": path})
texts = []
while not any("READY=1" in text for text in texts):
    texts.append(here.recv(4096).decode())
done.wait()
print(*texts)
PY
has 'READY=1' python3 "$WORK/tmp/listen.py" conmon true

## system df, info, version, ps with filters, inspect of the runtime
engine info >/dev/null
is "$RUNTIME_NAME" engine info -f '{{.Host.OCIRuntime.Name}}'
has "$RUNTIME_NAME" engine info -f '{{.Host.OCIRuntime.Version}}'
engine run -d --name in2 box sleep 1000
is "$RUNTIME_NAME" engine inspect -f '{{.OCIRuntime}}' in2

## restart of the whole engine's state: containers survive the engine
engine run -d --name sv1 box sleep 1000
is sv1 engine ps --format '{{.Names}}'
is 1 sh -c 'engine ps -q | wc -l'

## mounts: idmapped, overlay volume, image volume
mkdir -p "$WORK/tmp/lower"; echo low >"$WORK/tmp/lower/file"
is low engine run --rm -v "$WORK/tmp/lower:/o:O" box sh -c 'echo up >/o/new; cat /o/file'
is file ls "$WORK/tmp/lower"
mkdir -p "$WORK/tmp/owned"
touch "$WORK/tmp/owned/file"
mapped="--uidmap 0:100000:1000 --gidmap 0:100000:1000"
is 65534 engine run --rm $mapped -v "$WORK/tmp/owned:/o" box stat -c %u /o/file
is 0 engine run --rm $mapped -v "$WORK/tmp/owned:/o:idmap" box sh -c 'touch /o/new; stat -c %u /o/file'
is 0 stat -c %u "$WORK/tmp/owned/new"
is page engine run --rm --mount type=image,source=box,destination=/image box cat /image/www/index.html

## privileged
has '1' engine run --rm --privileged --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 box sh -c 'mount -t tmpfs t /tmp && echo 1'

## cleanup of a container whose init was killed behind the engine's back
engine run -d --name kb1 box sleep 1000
kill -9 "$(engine inspect -f '{{.State.Pid}}' kb1)"
is 137 engine wait kb1
engine rm kb1
