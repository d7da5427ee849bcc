#!/bin/bash
# In the guest, as root, in the checkout: installs ocirt as `make install` does and runs tests, those below
# tests/guest/user as the user in a login session, all others as root.  Without arguments: tests/guest.
# A name may have options of pytest beside it: tests/guest/root -k freeze.
set -uo pipefail
make -s install PYTHON=/usr/bin/python3 || exit 1
export OCIRT_RUNTIME=/usr/local/bin/ocirt
as_root=() as_user=() options=()
for argument in "$@"; do
    case $argument in
    tests/guest/user*) as_user+=("$argument") ;;
    tests/*) as_root+=("$argument") ;;
    *) options+=("$argument") ;;
    esac
done
if [ ${#as_root[@]} = 0 ] && [ ${#as_user[@]} = 0 ]; then
    as_root=(tests/guest/root) as_user=(tests/guest/user)
fi
# The kernel patches its own code when the first cpuset or device program comes and when the last one goes; under
# emulation another processor may trip over it and panic.  One unit has both for as long as the tests run.
systemd-run -q --unit=keep -p Delegate=yes -p DevicePolicy=closed sleep infinity || exit 1
pytest="python3 -m pytest -q -p no:cacheprovider"
code=0
if [ ${#as_root[@]} != 0 ]; then
    echo "== as root: ${as_root[*]}"
    $pytest "${as_root[@]}" "${options[@]}" || code=$?
fi
if [ ${#as_user[@]} != 0 ]; then
    echo "== as user: ${as_user[*]}"
    export XDG_SESSION_CLASS=user XDG_SESSION_TYPE=tty # for pam_systemd, in the PAM stack of runuser -l
    runuser -l user -w OCIRT_RUNTIME,RUNTIME,PATH -c "cd $(pwd) && exec $pytest $(printf ' %q' "${as_user[@]}" "${options[@]}")" \
        || code=$?
fi
exit $code
