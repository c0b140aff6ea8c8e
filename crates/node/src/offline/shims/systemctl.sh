#!/bin/sh
# systemctl: what changes files is done on them, what needs a running manager is noted.
. /dev/kiln/lib.sh
program=$(need systemctl) || exit 127
all="$*"
verb=
now=
user=
for word in "$@"; do
    case $word in
    --now) now=1 ;;
    --user) user=1 ;;
    --version | --help | -h)
        exec "$program" "$@"
        ;;
    -*) ;;
    *) [ -n "$verb" ] || verb=$word ;;
    esac
done
case $verb in
enable | disable | reenable | mask | unmask | preset | preset-all | set-default | get-default | add-wants | \
    add-requires | link | revert | is-enabled | list-unit-files | cat | edit | set-property)
    if [ -n "$now" ]; then
        note skipped "systemctl $all (the units are changed, not started or stopped)"
        count=$#
        while [ "$count" -gt 0 ]; do
            word=$1
            shift
            [ "$word" = --now ] || set -- "$@" "$word"
            count=$((count - 1))
        done
    fi
    [ -n "$user" ] && exec "$program" "$@"
    exec "$program" --root=/ "$@"
    ;;
reboot | poweroff | halt | kexec | soft-reboot)
    note reboot "systemctl $all"
    ;;
is-active | is-failed | status | is-system-running)
    note unknown "systemctl $all"
    case $all in *-q* | *--quiet*) ;; *) echo inactive ;; esac
    exit 3
    ;;
show | list-units | list-timers | list-jobs | list-dependencies | show-environment)
    note unknown "systemctl $all"
    ;;
*)
    note skipped "systemctl $all"
    ;;
esac
