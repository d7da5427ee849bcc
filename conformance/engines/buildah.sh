# buildah with --isolation oci: the runtime runs every RUN.

### prepare
cat >"$WORK/bin/engine" <<'SH'
#!/bin/sh
exec buildah "$@"
SH
chmod +x "$WORK/bin/engine"
cat >"$WORK/containers.conf" <<CONF
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
CONF
cat >"$WORK/bin/bud" <<'SH'
#!/bin/sh
CONTAINERS_CONF=$WORK/containers.conf exec buildah bud --isolation oci --runtime "$RUNTIME" --pull-never "$@"
SH
cat >"$WORK/bin/inside" <<'SH'
#!/bin/sh
CONTAINERS_CONF=$WORK/containers.conf exec buildah run --isolation oci --runtime "$RUNTIME" "$@"
SH
chmod +x "$WORK/bin/bud" "$WORK/bin/inside"
rootfs "$WORK/rootfs"
c=$(buildah from scratch)
buildah copy "$c" "$WORK/rootfs" /
buildah config --cmd 'sleep 10000' "$c"
buildah commit --rm "$c" box

### after each
buildah rm -a >/dev/null || true

### end
buildah rm -a || true
ip link delete cni-podman0 || true

### keeps
cgroup .*/buildah.*
mount /run/netns

## run: output and status
c=$(buildah from --pull-never box)
is hi inside "$c" echo hi
ends 3 inside "$c" sh -c 'exit 3'
has 'executable file not found|no such' inside "$c" no-such-program
is in inside "$c" cat <<<in

## run --terminal
c=$(buildah from --pull-never box)
has '^terminal' on_terminal inside -t "$c" sh -c 'test -t 0 && test -t 1 && echo terminal'

## run: user, directory, environment, volume, capabilities
c=$(buildah from --pull-never box)
is 1000 inside --user 1000 "$c" id -u
is /tmp inside --workingdir /tmp "$c" pwd
is b inside --env A=b "$c" sh -c 'echo $A'
mkdir -p "$WORK/tmp/vol"; echo data >"$WORK/tmp/vol/f"
is data inside -v "$WORK/tmp/vol:/vol:ro" "$c" cat /vol/f
has 'not permitted' inside --cap-drop CAP_CHOWN "$c" chown 1 /tmp

## run changes the container's file system
c=$(buildah from --pull-never box)
inside "$c" sh -c 'echo made >/made'
is made cat "$(buildah mount "$c")/made"

## run: network none and host
c=$(buildah from --pull-never box)
is lo inside --network none "$c" ls /sys/class/net
is "$(readlink /proc/self/ns/net)" inside --network host "$c" readlink /proc/self/ns/net

## bud: RUN, COPY, USER, WORKDIR, ARG
mkdir -p "$WORK/tmp/build"; echo copied >"$WORK/tmp/build/file"
cat >"$WORK/tmp/build/Containerfile" <<'FILE'
FROM box
ARG WHAT=default
COPY file /file
RUN echo "$WHAT" >/what && cat /file
WORKDIR /work
USER 1000
RUN id -u >/tmp/id; pwd >/tmp/dir
FILE
bud --build-arg WHAT=given -t built "$WORK/tmp/build"
c=$(buildah from --pull-never built)
is "$(printf 'given\n1000\n/work')" inside "$c" cat /what /tmp/id /tmp/dir

## bud: a RUN that fails ends the build
cat >"$WORK/tmp/Fail" <<'FILE'
FROM box
RUN exit 7
FILE
has 'exit status 7' bud -f "$WORK/tmp/Fail" "$WORK/tmp"

## bud: two stages, and RUN --mount
cat >"$WORK/tmp/Stages" <<'FILE'
FROM box AS first
RUN echo one >/one
FROM box
COPY --from=first /one /two
RUN --mount=type=tmpfs,target=/scratch echo x >/scratch/x && cat /two
FILE
has '^one' bud -t staged -f "$WORK/tmp/Stages" "$WORK/tmp"

## bud: memory and cpu limits of the steps
cat >"$WORK/tmp/Limits" <<'FILE'
FROM box
RUN cat /sys/fs/cgroup/memory/memory.limit_in_bytes
FILE
has '67108864' bud --memory 64m --cpu-shares 512 -f "$WORK/tmp/Limits" "$WORK/tmp"
