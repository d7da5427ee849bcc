#!/bin/sh
# Makes a Debian root a test machine: mmdebstrap's customize hook, $1 is the root.  KERNEL is in the environment.
set -eu
root=$1

# The kernel is unpacked, not installed: no initramfs is wanted, the cloud kernel has ext4, NVMe and virtio built in.
package=$(chroot "$root" apt-cache depends "$KERNEL" | sed -n 's/^ *Depends: \(linux-image-[0-9]\)/\1/p')
chroot "$root" sh -ec "mkdir /tmp/k; cd /tmp/k; apt-get -qq download $package; dpkg-deb -x *.deb ."
mv "$root"/tmp/k/lib/modules "$root/usr/lib/" 2>/dev/null || mv "$root"/tmp/k/usr/lib/modules "$root/usr/lib/"
cp "$root"/tmp/k/boot/vmlinuz-* "$root/boot/vmlinuz"
rm -rf "$root/tmp/k"
chroot "$root" depmod "$(ls "$root/usr/lib/modules")"

chroot "$root" useradd -m -u 1000 -U -s /bin/bash user
printf 'root:100000:65536\nuser:165536:65536\n' | tee "$root/etc/subuid" > "$root/etc/subgid"
echo guest > "$root/etc/hostname"
echo '127.0.0.1 localhost guest' > "$root/etc/hosts"
: > "$root/etc/fstab"
: > "$root/etc/resolv.conf"
chroot "$root" systemd-machine-id-setup # else every boot is a first boot

# What a machine that lives for minutes can do without: software emulation makes every unit cost a second.
# apparmor.service would load the distribution's profiles; the module itself is on.
system=$root/etc/systemd/system
user=$root/etc/systemd/user
mkdir -p "$user" "$root/etc/systemd/system-generators" "$root/etc/systemd/user-generators"
for unit in getty.target apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer man-db.timer systemd-tmpfiles-clean.timer podman.socket podman.service \
    podman-restart.service podman-auto-update.timer podman-auto-update.service podman-clean-transient.service \
    modprobe@.service systemd-pstore.service systemd-binfmt.service systemd-update-utmp.service \
    systemd-update-utmp-runlevel.service systemd-random-seed.service systemd-journal-flush.service \
    systemd-journal-catalog-update.service systemd-hwdb-update.service systemd-firstboot.service \
    systemd-sysusers.service systemd-machine-id-commit.service systemd-modules-load.service \
    systemd-remount-fs.service proc-sys-fs-binfmt_misc.automount sys-kernel-debug.mount sys-kernel-tracing.mount \
    systemd-ask-password-wall.path systemd-ask-password-console.path systemd-initctl.socket \
    systemd-network-generator.service apparmor.service; do
    ln -sfn /dev/null "$system/$unit"
done
for unit in podman.socket podman.service podman-restart.service podman-auto-update.timer \
    podman-auto-update.service systemd-tmpfiles-setup.service systemd-tmpfiles-clean.timer; do
    ln -sfn /dev/null "$user/$unit"
done
for generator in "$root"/usr/lib/systemd/system-generators/* "$root"/usr/lib/systemd/user-generators/*; do
    kind=$(basename "$(dirname "$generator")")
    ln -sfn /dev/null "$root/etc/systemd/$kind/$(basename "$generator")"
done

mkdir -p "$system/user@.service.d" "$root/etc/systemd/journald.conf.d"
printf '[Service]\nDelegate=cpu cpuset io memory pids\n' > "$system/user@.service.d/delegate.conf"
printf '[Journal]\nStorage=volatile\nAudit=no\n' > "$root/etc/systemd/journald.conf.d/guest.conf"
# There is no udev: these are the modes that its rules would give.
printf 'z /dev/fuse 0666\nz /dev/net/tun 0666\n' > "$root/etc/tmpfiles.d/guest.conf"

cat > "$system/guest.target" <<'UNIT'
[Unit]
Description=Test machine
Requires=basic.target dbus.socket
Wants=guest-job.service systemd-logind.service systemd-user-sessions.service
After=basic.target
AllowIsolate=yes
UNIT
ln -sfn guest.target "$system/default.target"
cat > "$system/guest-job.service" <<'UNIT'
[Unit]
Description=The command of the host
After=basic.target dbus.socket systemd-logind.service systemd-user-sessions.service
FailureAction=poweroff-immediate
SuccessAction=poweroff-immediate
[Service]
Type=exec
ExecStart=/usr/local/sbin/guest-job
KillMode=process
TasksMax=infinity
LimitNOFILE=1048576
UNIT
cat > "$root/usr/local/sbin/guest-job" <<'SCRIPT'
#!/bin/bash
# The job comes as a tar stream on the virtio port "job".
for attempt in {1..50}; do
    for port in /sys/class/virtio-ports/*; do
        [ "$(cat "$port/name" 2>/dev/null)" = job ] || continue
        tar -x -C / --numeric-owner < "/dev/${port##*/}" && exec bash /run/guest/job
        exit 1
    done
    sleep 0.1
done
exit 1
SCRIPT
chmod 755 "$root/usr/local/sbin/guest-job"

mkdir -p "$root/etc/containers"
cat > "$root/etc/containers/storage.conf" <<'CONF'
[storage]
driver = "overlay"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
CONF
cat > "$root/etc/containers/containers.conf" <<'CONF'
[containers]
log_driver = "k8s-file"
[engine]
events_logger = "file"
CONF
