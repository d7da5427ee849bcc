#!/bin/sh
# A runtime for engines: runc, but a copy of every config.json that it is given stays in /tmp/ocirt-records, which
# anyone may write to: an engine's daemons and users do not hand the caller's environment on.
#
#     mkdir -m 1777 /tmp/ocirt-records
#     python conformance/engines/engines.py --runtime recorder=conformance/engines/record.sh --engine podman
#
# tests/configs/engines was made from these.
bundle='' previous=''
for word; do
    case $previous in --bundle | -b) bundle=$word ;; esac
    case $word in --bundle=*) bundle=${word#*=} ;; esac
    previous=$word
done
if [ -f "$bundle/config.json" ]; then
    copy=/tmp/ocirt-records/$(sha256sum <"$bundle/config.json" | cut -c1-16).json
    cp "$bundle/config.json" "$copy" && chmod 644 "$copy"
fi
exec runc "$@"
