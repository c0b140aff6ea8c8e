#!/bin/sh
# timedatectl: the time zone is a file; the clock is nobody's here.
. /dev/kiln/lib.sh
need timedatectl >/dev/null || exit 127
verb=
value=
for word in "$@"; do
    case $word in
    -*) ;;
    *) if [ -z "$verb" ]; then verb=$word; else value=$word; fi ;;
    esac
done
case $verb in
set-timezone)
    case $value in
    '' | /* | *..*)
        echo "timedatectl: \`$value\` is not a time zone" >&2
        exit 1
        ;;
    esac
    if [ ! -f "/usr/share/zoneinfo/$value" ]; then
        echo "timedatectl: there is no time zone \`$value\` in /usr/share/zoneinfo" >&2
        exit 1
    fi
    ln -sfn "../usr/share/zoneinfo/$value" /etc/localtime || exit 1
    [ ! -f /etc/timezone ] || printf '%s\n' "$value" >/etc/timezone || exit 1
    note kept "timedatectl set-timezone $value in /etc/localtime"
    ;;
*) note skipped "timedatectl $*" ;;
esac
