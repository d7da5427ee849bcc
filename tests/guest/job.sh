#!/bin/bash
# In the guest, as root: runs the host's command and tells the host what came of it, over virtio ports.
# It travels with every job, so that a change here needs no new image.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
declare -A port
for entry in /sys/class/virtio-ports/*; do
    [ -e "$entry/name" ] && port[$(<"$entry/name")]=/dev/${entry##*/}
done
. /run/guest/settings # user= tty= out= directory= size= TERM= now=
date -s "@$now" > /dev/null
chmod 755 /run/guest
install -d -o "$user" /run/guest/out
export OUT=/run/guest/out TERM
cd "$directory" || exit 1
if [ -n "$tty" ]; then
    [ -z "$size" ] || stty -F /dev/hvc0 $size
    chown "$user" /dev/hvc0
    streams='</dev/hvc0 >/dev/hvc0 2>&1' run='setsid -w -c'
else
    for name in out err; do
        mkfifo -m 600 /run/guest/$name.pipe
        chown "$user" /run/guest/$name.pipe
        cat /run/guest/$name.pipe > "${port[$name]}" &
        relays+=" $!"
    done
    streams='</dev/null >/run/guest/out.pipe 2>/run/guest/err.pipe' run=
fi
if [ "$user" = root ]; then
    export HOME=/root USER=root LOGNAME=root SHELL=/bin/bash
    eval "$run bash /run/guest/command $streams"
else # a login session: the PAM stack of runuser -l has pam_systemd
    export XDG_SESSION_CLASS=user XDG_SESSION_TYPE=tty
    eval "$run runuser -l \"\$user\" -w OUT,TERM -c 'cd \"$directory\"; exec bash /run/guest/command $streams'"
fi
code=$?
for attempt in {1..10}; do # what the command left running may hold the pipes
    kill -0 $relays 2>/dev/null || break
    sleep 0.1
done
[ -z "$out" ] || tar -C /run/guest/out -cf - . > "${port[files]}"
echo $code > "${port[code]}"
