# How docker is started and ended: dockerd with the runtime as --add-runtime and as its default; its own containerd; no registry.

### prepare
mkdir -p /etc/docker
cat >/etc/docker/daemon.json <<JSON
{"runtimes": {"tested": {"path": "$RUNTIME"}}, "default-runtime": "tested",
 "exec-opts": ["native.cgroupdriver=cgroupfs"],
 "default-ulimits": {"nofile": {"Name": "nofile", "Hard": 1024, "Soft": 1024},
                     "nproc": {"Name": "nproc", "Hard": 1024, "Soft": 1024}}}
JSON
cat >"$WORK/bin/engine" <<'SH'
#!/bin/sh
DOCKER_BUILDKIT=0 exec /usr/bin/docker "$@"
SH
chmod +x "$WORK/bin/engine"
daemon dockerd dockerd
soon engine version
rootfs "$WORK/rootfs"
tar -C "$WORK/rootfs" -c . | engine import -c 'CMD ["sleep", "10000"]' -c 'ENV PATH=/bin' - box
is tested engine info -f '{{.DefaultRuntime}}'

### after each
ids=$(engine ps -aq); [ -z "$ids" ] || engine rm -f $ids >/dev/null
lacks . engine ps -aq
is '' sh -c 'ls /run/docker/runtime-*/moby 2>/dev/null || true'

### end
ids=$(engine ps -aq); [ -z "$ids" ] || engine rm -f $ids
end_daemon dockerd
ip link delete docker0 || true

### keeps
cgroup .*/(docker|mine)
mount /run/docker/.*
mount /var/lib/docker.*
