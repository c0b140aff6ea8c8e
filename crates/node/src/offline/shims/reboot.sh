#!/bin/sh
# reboot, shutdown, poweroff, halt, init, telinit: the machine does not run, so it cannot end. What comes after a
# restart goes on at once.
. /dev/kiln/lib.sh
name=${0##*/}
case $name in
init | telinit)
    case ${1-} in
    0 | 6) ;;
    *)
        note skipped "$name $*"
        exit 0
        ;;
    esac
    ;;
shutdown)
    for word in "$@"; do
        [ "$word" = -c ] && exit 0
    done
    ;;
esac
note reboot "$name${1:+ $*}"
