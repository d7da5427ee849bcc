# containerd's CRI plugin, driven by crictl and critest; the runtime is a runtime handler, as a RuntimeClass names it.
# They are Go programs (sigs.k8s.io/cri-tools); engines.py builds them where Go is new enough.

### prepare
[ -x "$TOOLS/crictl" ] || skip 'no crictl: a Go compiler of version 1.24 or newer is missing'
cp "$TOOLS/crictl" "$WORK/bin/"
mkdir -p "$WORK/cni" "$WORK/logs"
cat >"$WORK/cni/10-bridge.conflist" <<'JSON'
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
 {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
  "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
 {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
cat >"$WORK/containerd.toml" <<TOML
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/library/box:latest"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$WORK/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "tested"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.tested]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.tested.options]
      BinaryName = "$RUNTIME"
TOML
cat >"$WORK/crictl.yaml" <<'YAML'
runtime-endpoint: unix:///run/containerd/containerd.sock
timeout: 30
YAML
cat >"$WORK/bin/cri" <<'SH'
#!/bin/sh
exec crictl --config "$WORK/crictl.yaml" "$@"
SH
cat >"$WORK/bin/pod" <<'SH'
#!/bin/sh
# pod NAME [JSON of linux]: a running sandbox; prints its id
cat >"$WORK/tmp/$1.pod.json" <<JSON
{"metadata": {"name": "$1", "namespace": "default", "uid": "$1", "attempt": 1}, "log_directory": "$WORK/logs",
 "port_mappings": ${PORTS:-[]}, "linux": ${2:-{\}}}
JSON
exec crictl --config "$WORK/crictl.yaml" runp --runtime tested "$WORK/tmp/$1.pod.json"
SH
cat >"$WORK/bin/container" <<'SH'
#!/bin/sh
# container POD-ID POD-NAME NAME COMMAND-JSON [JSON of linux] [MOUNTS]: a started container; prints its id
cat >"$WORK/tmp/$3.json" <<JSON
{"metadata": {"name": "$3"}, "image": {"image": "docker.io/library/box:latest"}, "command": $4,
 "log_path": "$3.log", "stdin": true, "tty": ${TTY:-false}, "linux": ${5:-{\}}, "mounts": ${6:-[]}}
JSON
id=$(crictl --config "$WORK/crictl.yaml" create "$1" "$WORK/tmp/$3.json" "$WORK/tmp/$2.pod.json") || exit 1
crictl --config "$WORK/crictl.yaml" start "$id" >&2 && echo "$id"
SH
chmod +x "$WORK/bin/cri" "$WORK/bin/pod" "$WORK/bin/container"
daemon containerd containerd --config "$WORK/containerd.toml"
soon cri version
rootfs "$WORK/rootfs"
python3 "$HERE/archive.py" "$WORK/rootfs" docker.io/library/box:latest "$WORK/box.tar"
ctr -n k8s.io image import "$WORK/box.tar"
soon sh -c 'cri images | grep box'

### after each
cri rmp -a -f >/dev/null 2>&1 || true
soon sh -c '[ -z "$(cri pods -q)" ]'
is '' sh -c 'ls /run/containerd/runc/k8s.io 2>/dev/null || true'

### end
cri rmp -a -f || true
end_daemon containerd
ip link delete cni0 || true

### keeps
cgroup .*/k8s.io
mount /run/(containerd|netns).*

## a pod, a container, its state, stop, remove
p=$(pod p1)
c=$(container "$p" p1 c1 '["sleep", "1000"]')
has 'CONTAINER_RUNNING' cri inspect "$c"
has SANDBOX_READY cri inspectp "$p"
cri stop -t 0 "$c"
has CONTAINER_EXITED cri inspect "$c"
cri rm "$c"
cri stopp "$p"
cri rmp "$p"

## the runtime is the handler's
p=$(pod p2)
has "OCI runtime create failed: $RUNTIME_NAME create" container "$p" p2 c2 '["no-such-program"]'

## exec, exec -it through the streaming server, status
p=$(pod p3)
c=$(container "$p" p3 c3 '["sleep", "1000"]')
is hi cri exec --sync "$c" echo hi
is hi cri exec "$c" echo hi
has '^terminal' on_terminal cri exec -it "$c" sh -c 'test -t 0 && echo terminal'
has 'exited with 7' cri exec --sync "$c" sh -c 'exit 7'

## logs, exit code
p=$(pod p4)
c=$(container "$p" p4 c4 '["sh", "-c", "echo out; echo err >&2; exit 5"]')
soon sh -c "cri inspect $c | grep CONTAINER_EXITED"
has '"exitCode": 5' cri inspect "$c"
is "$(printf 'err\nout')" sh -c "cri logs $c 2>&1 | sort"

## stats
p=$(pod p5)
c=$(container "$p" p5 c5 '["sleep", "1000"]')
soon sh -c "cri stats -a | grep c5"

## resources, and their update
p=$(pod p6 '{"cgroup_parent": "/kubepods"}')
c=$(container "$p" p6 c6 '["sleep", "1000"]' '{"resources": {"memory_limit_in_bytes": 67108864, "cpu_shares": 512, "cpu_quota": 50000, "cpu_period": 100000}}')
is 67108864 cat "/sys/fs/cgroup/memory/kubepods/$c/memory.limit_in_bytes"
is 512 cat "/sys/fs/cgroup/cpu/kubepods/$c/cpu.shares"
is 50000 cat "/sys/fs/cgroup/cpu/kubepods/$c/cpu.cfs_quota_us"
cri update --memory 33554432 --cpu-share 256 "$c"
is 33554432 cat "/sys/fs/cgroup/memory/kubepods/$c/memory.limit_in_bytes"
is 256 cat "/sys/fs/cgroup/cpu/kubepods/$c/cpu.shares"
cri rmp -f "$p"
rmdir /sys/fs/cgroup/*/kubepods 2>/dev/null || true

## out of memory is the reason
p=$(pod p7)
c=$(container "$p" p7 c7 '["sh", "-c", "dd if=/dev/zero of=/dev/null bs=256M count=1; sleep 1; exit 137"]' '{"resources": {"memory_limit_in_bytes": 33554432}}')
soon sh -c "cri inspect $c | grep OOMKilled"

## security: user, read-only root, capabilities, no_new_privs, seccomp
p=$(pod p8)
c=$(container "$p" p8 c8 '["sleep", "1000"]' '{"security_context": {"run_as_user": {"value": 1000}, "readonly_rootfs": true, "no_new_privs": true, "seccomp": {"profile_type": 0}, "capabilities": {"drop_capabilities": ["ALL"]}}}')
is 1000 cri exec --sync "$c" id -u
has 'Read-only' cri exec --sync "$c" touch /x
has 'NoNewPrivs:.1' cri exec --sync "$c" cat /proc/self/status
has 'Seccomp:.2' cri exec --sync "$c" cat /proc/self/status
has 'CapBnd:.0000000000000000' cri exec --sync "$c" cat /proc/self/status

## namespaces: the pod's network; a shared pid namespace; the host's
p=$(pod p9 '{"security_context": {"namespace_options": {"pid": 0}}}')
c=$(container "$p" p9 c9 '["sleep", "4321"]' '{"security_context": {"namespace_options": {"pid": 0}}}')
has 'sleep 4321' cri exec --sync "$c" ps
has 'sleep 10000' cri exec --sync "$c" ps
cri rmp -f "$p"
p=$(pod p10 '{"security_context": {"namespace_options": {"network": 2, "ipc": 2, "pid": 2}}}')
c=$(container "$p" p10 c10 '["sleep", "4321"]' '{"security_context": {"namespace_options": {"network": 2, "ipc": 2, "pid": 2}}}')
is "$(readlink /proc/self/ns/net)" cri exec --sync "$c" readlink /proc/self/ns/net
is "$(readlink /proc/self/ns/pid)" cri exec --sync "$c" readlink /proc/self/ns/pid

## volumes with propagation
mkdir -p "$WORK/tmp/vol"; echo data >"$WORK/tmp/vol/file"
mount --bind "$WORK/tmp/vol" "$WORK/tmp/vol"; mount --make-shared "$WORK/tmp/vol"
p=$(pod p11)
c=$(container "$p" p11 c11 '["sleep", "1000"]' '{}' "[{\"host_path\": \"$WORK/tmp/vol\", \"container_path\": \"/vol\", \"propagation\": 1}]")
is data cri exec --sync "$c" cat /vol/file
mkdir "$WORK/tmp/vol/sub"
mount -t tmpfs inner "$WORK/tmp/vol/sub"
has inner cri exec --sync "$c" cat /proc/self/mountinfo
umount "$WORK/tmp/vol/sub" "$WORK/tmp/vol"

## a host port
PORTS='[{"container_port": 80, "host_port": 8085}]' pod p12 >"$WORK/tmp/p12"
c=$(container "$(cat "$WORK/tmp/p12")" p12 c12 '["httpd", "-f", "-h", "/www"]')
soon sh -c 'busybox wget -qO- http://127.0.0.1:8085/ | grep -x page' || soon sh -c "busybox wget -qO- http://$(cri inspectp -o go-template --template '{{.status.network.ip}}' "$(cat "$WORK/tmp/p12")")/ | grep -x page"

## exec probes at rate: 60 in a row, 20 at a time
# limit: 300
p=$(pod p13)
c=$(container "$p" p13 c13 '["sleep", "1000"]')
for round in 1 2 3; do
    for n in $(seq 20); do cri exec --sync "$c" echo "ok-$n" >"$WORK/tmp/probe.$round.$n" 2>&1 & done
    wait
done
is 60 sh -c 'cat "$WORK"/tmp/probe.* | grep -c "^ok-"'
soon sh -c '! ps -A -o stat,comm | grep "^Z"'

## sysctls of the pod
p=$(pod p14 '{"sysctls": {"net.core.somaxconn": "1024"}}')
c=$(container "$p" p14 c14 '["sleep", "1000"]')
is 1024 cri exec --sync "$c" cat /proc/sys/net/core/somaxconn

## init is killed behind the engine's back
p=$(pod p15)
c=$(container "$p" p15 c15 '["sleep", "1000"]')
kill -9 "$(cri inspect -o go-template --template '{{.info.pid}}' "$c")"
soon sh -c "cri inspect $c | grep CONTAINER_EXITED"
has '"exitCode": 137' cri inspect "$c"

## critest
# limit: 900
[ -x "$TOOLS/critest" ] || skip 'no critest'
images=registry.k8s.io/e2e-test-images
echo '<html><body><h1>It works!</h1></body></html>' >"$WORK/rootfs/www/index.html"
image() { python3 "$HERE/archive.py" "$WORK/rootfs" "$@" && ctr -n k8s.io image import "$WORK/other.tar"; }
image $images/busybox:1.29-2 "$WORK/other.tar"
image $images/nginx:1.14-2 "$WORK/other.tar" httpd -f -p 80 -h /www
image $images/httpd:2.4.39-4 "$WORK/other.tar" httpd -f -p 80 -h /www
image gcr.io/k8s-staging-cri-tools/hostnet-nginx-amd64:latest "$WORK/other.tar" httpd -f -p 12003 -h /www
# left out: images are pulled; newer than this containerd; made for images with more than busybox
left_out='Image|pull|execSync with timeout|should not return an error if not found|should support container log'
left_out+='|ContainerPID|HostIpc|HostPID|NoNewPrivs|MaskedPaths|RunAsUserName'
"$TOOLS/critest" --runtime-endpoint unix:///run/containerd/containerd.sock --runtime-handler tested \
    --ginkgo.no-color --ginkgo.skip "$left_out"
