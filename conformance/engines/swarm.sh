# Two dockerds in network namespaces of their own, joined to a swarm, with the tested runtime as default.
# The image is named after a registry that refuses the connection at once: every node has it already.

### prepare
ip link add swarm0 type bridge
ip addr add 192.0.2.1/24 dev swarm0
ip link set swarm0 up
cat >"$WORK/bin/node" <<'SH'
#!/bin/sh
# node NAME COMMAND...: in that node's mount and network namespaces
name=$1; shift
exec nsenter --mount --net --target "$(cat "$WORK/tmp/holder-$name.pid")" "$@"
SH
chmod +x "$WORK/bin/node"
rootfs "$WORK/rootfs"
number=1
for name in a b; do
    number=$((number + 1))
    daemon "holder-$name" unshare --mount --net --propagation private sleep infinity
    soon sh -c "[ \$(readlink /proc/\$(cat $WORK/tmp/holder-$name.pid)/ns/net) != \$(readlink /proc/self/ns/net) ]"
    pid=$(cat "$WORK/tmp/holder-$name.pid")
    ip link add "swarm-$name" type veth peer name eth0 netns "$pid"
    ip link set "swarm-$name" master swarm0 up
    mkdir -p "$WORK/node-$name"
    node "$name" sh -euc "
        mount --make-rshared /
        mount -t tmpfs -o mode=755 tmpfs /run
        mount --bind $WORK/node-$name /var/lib/docker
        ip link set lo up; ip addr add 192.0.2.$number/24 dev eth0; ip link set eth0 up"
done
mkdir -p /etc/docker
cat >/etc/docker/daemon.json <<JSON
{"runtimes": {"tested": {"path": "$RUNTIME"}}, "default-runtime": "tested",
 "exec-opts": ["native.cgroupdriver=cgroupfs"],
 "default-ulimits": {"nofile": {"Name": "nofile", "Hard": 1024, "Soft": 1024},
                     "nproc": {"Name": "nproc", "Hard": 1024, "Soft": 1024}}}
JSON
for name in a b; do
    daemon "dockerd-$name" node "$name" dockerd
    soon node "$name" docker version
    tar -C "$WORK/rootfs" -c . | node "$name" docker import -c 'CMD ["sleep", "10000"]' -c 'ENV PATH=/bin' - localhost:1/box
    is tested node "$name" docker info -f '{{.DefaultRuntime}}'
done

### after each
node a docker service ps web --no-trunc 2>/dev/null | head -n 30 || true

### end
for name in b a; do
    node "$name" docker swarm leave -f || true
    end_daemon "dockerd-$name" || true
done
for name in a b; do end_daemon "holder-$name"; done
ip link delete swarm0 || true

### keeps
cgroup .*/docker

## a swarm of two nodes
node a docker swarm init --advertise-addr 192.0.2.2
token=$(node a docker swarm join-token -q worker)
node b docker swarm join --token "$token" 192.0.2.2:2377
soon sh -c '[ $(node a docker node ls | grep -c Ready) = 2 ]'

## a service of 6 replicas on both nodes
# limit: 200
node a docker service create --detach --name web --replicas 6 --stop-grace-period 1s --no-resolve-image localhost:1/box httpd -f -h /www
SOON=90 soon replicas 6
soon sh -c '[ $(node a docker ps -q | wc -l) -gt 0 ] && [ $(node b docker ps -q | wc -l) -gt 0 ]'
is tested sh -c 'node b docker inspect -f "{{.HostConfig.Runtime}}" $(node b docker ps -q | head -n 1)'

## scaled to 12
# limit: 200
node a docker service scale --detach web=12
SOON=90 soon replicas 12

## a task that is killed is replaced
victim=$(node b docker ps -q | head -n 1)
kill -9 "$(node b docker inspect -f '{{.State.Pid}}' "$victim")"
soon sh -c "! node b docker ps -q | grep -q $victim"
SOON=90 soon replicas 12

## one daemon is restarted: its tasks come back
# limit: 200
end_daemon dockerd-b
daemon dockerd-b node b dockerd
soon node b docker version
soon sh -c '[ $(node a docker node ls | grep -c Ready) = 2 ]'
SOON=90 soon replicas 12

## back to 6
# limit: 200
node a docker service scale --detach web=6
SOON=90 soon replicas 6
soon sh -c '[ $(( $(node a docker ps -q | wc -l) + $(node b docker ps -q | wc -l) )) = 6 ]'

## an update rolls over all tasks
# limit: 200
node a docker service update --detach --update-parallelism 3 --update-delay 0s --env-add A=b --no-resolve-image web
SOON=90 soon sh -c '[ "$(node a docker service inspect -f "{{.UpdateStatus.State}}" web)" = completed ]'
SOON=90 soon replicas 6

## the service is removed, and nothing of it stays
node a docker service rm web
soon sh -c '[ -z "$(node a docker ps -q)$(node b docker ps -q)" ]'
for name in a b; do is '' node "$name" sh -c 'ls /run/docker/runtime-*/moby 2>/dev/null || true'; done
