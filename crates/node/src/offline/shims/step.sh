#!/bin/sh
# Runs one script of a provisioner, as an upload, a command and a removal would have done it on a machine.
# Beside this file: script (or in /dev/kiln-secrets, when it holds what is in no key), command, values.
PATH=/dev/kiln/bin:${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}
SYSTEMD_OFFLINE=1
HOME=${HOME:-/root}
LOGNAME=${LOGNAME:-root}
USER=${USER:-root}
SHELL=${SHELL:-/bin/sh}
export PATH SYSTEMD_OFFLINE HOME LOGNAME USER SHELL
. /dev/kiln/values

: >/dev/kiln/notes && chmod 666 /dev/kiln/notes

# A shell that runs programs of its own before those in PATH passes the shims by: that of some builds of busybox.
case $(command -v reboot 2>/dev/null) in
/dev/kiln/*) ;;
*) printf 'unknown\tthe shell of this image runs programs of its own, so that restarts and services are not held back\n' \
    >>/dev/kiln/notes ;;
esac

# A name server for the script; the image's own file waits beside it.
own=/etc/.resolv.conf.kiln
dns=/dev/kiln-secrets/resolv.conf
served=
if [ -s "$dns" ] && [ -d /etc ]; then
    if [ -e /etc/resolv.conf ] || [ -L /etc/resolv.conf ]; then
        mv -f /etc/resolv.conf "$own" && served=1
    else
        served=1
    fi
    [ -z "$served" ] || cat "$dns" >/etc/resolv.conf
fi

pick() {
    if [ -f "/dev/kiln-secrets/$1" ]; then echo "/dev/kiln-secrets/$1"; else echo "/dev/kiln/$1"; fi
}
place() {
    case $2 in */*) mkdir -p "${2%/*}" ;; esac
    cat "$(pick "$1")" >"$2" && chmod "$3" "$2" || exit 126
}
[ -z "$kiln_variables" ] || place variables "$kiln_variables" 0600
place script "$kiln_path" 0755

(cd "$HOME" 2>/dev/null || cd /; exec /bin/sh "$(pick command)") </dev/null
code=$?

if [ -n "$kiln_remove" ]; then
    rm -f "$kiln_path"
    [ -z "$kiln_variables" ] || rm -f "$kiln_variables"
fi

# Whoever wrote another file means it for the image.
if [ -n "$served" ]; then
    if [ -f /etc/resolv.conf ] && [ ! -L /etc/resolv.conf ] && [ "$(cat /etc/resolv.conf)" = "$(cat "$dns")" ]; then
        rm -f /etc/resolv.conf
        if [ -e "$own" ] || [ -L "$own" ]; then mv -f "$own" /etc/resolv.conf; fi
    else
        rm -f "$own"
    fi
fi

while IFS= read -r line; do
    printf '\036KILN %s\n' "$line"
done </dev/kiln/notes
printf '\036KILN-CODE %s\n' "$code"

for valid in $kiln_valid; do
    [ "$code" = "$valid" ] && exit 0
done
[ "$code" = 0 ] && exit 1
exit "$code"
