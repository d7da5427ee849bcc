#!/bin/bash
# Runs one command in a throw-away Debian machine: systemd as process 1, pure cgroup v2, AppArmor, Landlock, a user
# with subordinate ids and a login session, no network.  Under qemu's software emulation: no KVM is needed.
#
#   vm.sh [options] -- COMMAND [ARGUMENT...]
#     --user          as the user "user" (uid 1000) in a login session; otherwise as root
#     --share DIR     copy DIR to /src in the guest (of a git tree the files git would track) and start there
#     --out DIR       bring back what the command leaves in $OUT
#     --tty           the command gets this terminal, for a look around: vm.sh --tty -- bash
#     --timeout SEC   give up after SEC seconds (exit status 124; default 1800)
#     --mem MB        memory of the machine, 2048
#     --build         only see to it that the image is there
#
# Exit status: the command's; 124: timed out; 125: the machine failed.
# Environment: GUEST_CACHE (~/.cache/ocirt-guest), GUEST_MIRROR and GUEST_SECURITY_MIRROR (this host's own),
#              GUEST_VERBOSE=1 (the console's log on standard error)
#
# Needs the packages qemu-system-x86, mmdebstrap and e2fsprogs; to make the image also root, and 4 GB in /tmp.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export LC_ALL=C.UTF-8
PATH=$PATH:/usr/sbin:/sbin

# What this host's own apt uses.
apt_site() {
    { apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null || true; } | grep -m1 -E "/$1/?\$" || true
}
: "${GUEST_CACHE:=${XDG_CACHE_HOME:-$HOME/.cache}/ocirt-guest}"
: "${GUEST_MIRROR:=$(apt_site debian)}"
: "${GUEST_SECURITY_MIRROR:=$(apt_site debian-security)}"
SUITE=bookworm
KERNEL=linux-image-6.12-cloud-amd64 # of the suite's security part
PACKAGES=systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,polkitd
PACKAGES+=,python3,python3-dev,python3-pytest,python3-jeepney,make,gcc,libc6-dev
PACKAGES+=,runc,crun,criu,podman,conmon,uidmap,slirp4netns,fuse-overlayfs
PACKAGES+=,apparmor,busybox-static,iproute2,nftables,procps,psmisc,kmod,util-linux
PACKAGES+=,strace,jq,libseccomp2,libcap2-bin,attr,acl,e2fsprogs,git
# Security fixes nobody needs in a machine without a network cost time under emulation.
KERNEL_ARGUMENTS="mitigations=off init_on_alloc=0 nowatchdog no_timer_check rcupdate.rcu_expedited=1"

die() {
    echo "vm.sh: $*" >&2
    exit 125
}

build() {
    command -v mmdebstrap > /dev/null || die "needs mmdebstrap (apt-get install mmdebstrap)"
    [ "$(id -u)" = 0 ] || die "the image must be made as root"
    [ -n "$GUEST_MIRROR" ] || die "no Debian mirror known: set GUEST_MIRROR"
    echo "vm.sh: making the image, once: a few minutes" >&2
    local work sources
    work=$(mktemp -d "${TMPDIR:-/tmp}/guest-image.XXXXXX")
    trap 'rm -rf "$work"' RETURN
    chmod 755 "$work"
    sources=("deb $GUEST_MIRROR $SUITE main" "deb $GUEST_MIRROR $SUITE-updates main")
    [ -z "$GUEST_SECURITY_MIRROR" ] || sources+=("deb $GUEST_SECURITY_MIRROR $SUITE-security main")
    KERNEL=$KERNEL mmdebstrap --quiet --mode=root --variant=minbase --include="$PACKAGES" \
        --aptopt='APT::Install-Recommends "false"' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --customize-hook="sh $here/image.sh \"\$1\"" "$SUITE" "$work/root" "${sources[@]}" >&2 || die "mmdebstrap failed"
    mkdir -p "$image"
    mv "$work/root/boot/vmlinuz" "$image/vmlinuz"
    mke2fs -q -t ext4 -O ^has_journal -L root -d "$work/root" "$image/root.tmp" 8G || die "mke2fs failed"
    mv "$image/root.tmp" "$image/root.img" # last: what is there is whole
}

user=root share='' out='' tty='' limit=1800 memory=2048 build_only=''
while [ $# -gt 0 ]; do
    case $1 in
    --user) user=user ;;
    --tty) tty=1 ;;
    --share) share=$2; shift ;;
    --out) out=$2; shift ;;
    --timeout) limit=$2; shift ;;
    --mem) memory=$2; shift ;;
    --build) build_only=1 ;;
    --) shift; break ;;
    -h | --help) sed -n '2,/^set /{/^#/s/^# \?//p}' "$0"; exit 0 ;;
    *) die "unknown option $1" ;;
    esac
    shift
done

# The image is named by what it is made from.
image=$GUEST_CACHE/$SUITE-$({ cat "$here/image.sh"; echo "$PACKAGES $KERNEL"; } | sha256sum | cut -c1-12)
if [ ! -e "$image/root.img" ]; then
    mkdir -p "$GUEST_CACHE"
    (flock 9; [ -e "$image/root.img" ] || build) 9> "$GUEST_CACHE/lock"
fi
[ -e "$image/root.img" ] || exit 125
[ -z "$build_only" ] || exit 0
[ $# -gt 0 ] || die "no command; see --help"
command -v qemu-system-x86_64 > /dev/null || die "needs qemu-system-x86_64 (apt-get install qemu-system-x86)"

work=$(mktemp -d "${TMPDIR:-/tmp}/guest.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The job: a tar file that the guest reads from a virtio port.
mkdir "$work/job.d"
directory=/root
[ $user = root ] || directory=/home/user
[ -z "$share" ] || directory=/src
cp "$here/job.sh" "$work/job.d/job"
printf '%q=%q\n' user $user tty "$tty" out "$out" directory $directory TERM "${TERM:-dumb}" now "$(date +%s)" \
    size "$([ -z "$tty" ] || stty size 2>/dev/null | awk '{print "rows",$1,"cols",$2}')" > "$work/job.d/settings"
printf 'export PATH=%s LANG=C.UTF-8\nexec%s\n' /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    "$(printf ' %q' "$@")" > "$work/job.d/command"
tar -C "$work/job.d" --owner=root:0 --group=root:0 --mode=a+r --transform='s,^,run/guest/,' \
    -cf "$work/job.tar" job settings command
if [ -n "$share" ]; then
    [ -d "$share" ] || die "no directory $share"
    owner=root:0
    [ $user = root ] || owner=user:1000
    how=(--owner=$owner --group=$owner --transform='s,^\(\./\|\),src/,;s,^src/\.$,src,')
    tar -C "$share" "${how[@]}" --no-recursion -rf "$work/job.tar" .
    if git -C "$share" rev-parse --is-inside-work-tree > /dev/null 2>&1; then
        (cd "$share" && git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
            { [ -e "$file" ] || [ -L "$file" ]; } && printf '%s\0' "$file"; done || true) > "$work/files.list"
        tar -C "$share" "${how[@]}" --null --verbatim-files-from -T "$work/files.list" -rf "$work/job.tar"
    else
        tar -C "$share" "${how[@]}" --exclude=./.git -rf "$work/job.tar" .
    fi
fi

devices=() readers=()
port() { devices+=(-chardev "file,id=$1,path=$2" -device "virtserialport,chardev=$1,name=$1"); }
if [ -n "$tty" ]; then
    devices+=(-chardev stdio,id=tty,signal=off -device virtconsole,chardev=tty)
else
    mkfifo "$work/out" "$work/err"
    exec {hold_out}<> "$work/out" {hold_err}<> "$work/err" {read_out}< "$work/out" {read_err}< "$work/err"
    cat <&$read_out {hold_out}>&- {hold_err}>&- &
    readers+=($!)
    cat <&$read_err >&2 {hold_out}>&- {hold_err}>&- &
    readers+=($!)
    port out "$work/out"
    port err "$work/err"
fi
port code "$work/code"
port files "$work/files"
mkfifo "$work/job"
devices+=(-chardev "pipe,id=job,path=$work/job" -device virtserialport,chardev=job,name=job)
exec {job}<> "$work/job" # both ways, so that neither end waits for the other
cat "$work/job.tar" >&$job &
feeder=$!

code=0
timeout --foreground -k 5 "$limit" qemu-system-x86_64 -machine q35,accel=tcg -cpu max -smp 2 -m "$memory" \
    -nodefaults -no-user-config -display none -no-reboot -kernel "$image/vmlinuz" \
    -append "root=/dev/nvme0n1 rootwait rw console=ttyS0 quiet loglevel=4 panic=-1 systemd.show_status=0 \
$KERNEL_ARGUMENTS lsm=landlock,yama,apparmor,bpf" \
    -drive "if=none,id=root,file=$image/root.img,format=raw,snapshot=on,cache=unsafe" -device nvme,serial=root,drive=root \
    -device virtio-serial-pci "${devices[@]}" -device virtio-rng-pci -serial "file:$work/console" || code=$?
kill "$feeder" 2> /dev/null || true
if [ ${#readers[@]} != 0 ]; then
    exec {hold_out}>&- {hold_err}>&-
    wait "${readers[@]}" || true
fi
[ -z "${GUEST_VERBOSE:-}" ] || cat "$work/console" >&2
if [ -s "$work/code" ]; then
    code=$(tr -d '\r\n' < "$work/code")
elif [ $code = 124 ] || [ $code = 137 ]; then
    echo "vm.sh: timed out after $limit s" >&2
    tail -n 15 "$work/console" >&2
    code=124
else
    echo "vm.sh: the machine ended without a result (qemu: $code)" >&2
    tail -n 30 "$work/console" >&2
    code=125
fi
if [ -n "$out" ] && [ -s "$work/files" ]; then
    mkdir -p "$out"
    tar -C "$out" --no-same-owner -xf "$work/files"
fi
exit "$code"
