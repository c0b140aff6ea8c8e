#!/bin/sh
# modprobe, insmod, rmmod: modules are loaded when the image starts.
. /dev/kiln/lib.sh
name=${0##*/}
program=$(need "$name") || exit 127
case $name in rmmod | insmod)
    note skipped "$name $*"
    exit 0
    ;;
esac
for word in "$@"; do
    case $word in
    -r | --remove)
        note skipped "modprobe $*"
        exit 0
        ;;
    -n | --dry-run | --show | --show-depends | -D | -c | --showconfig | --version | -V | --help | -h)
        exec "$program" "$@"
        ;;
    esac
done
several=
first=1
for word in "$@"; do
    case $word in
    -a | --all) several=1 ;;
    -*) ;;
    *=*) note skipped "modprobe: the parameter $word (write it into /etc/modprobe.d)" ;;
    *)
        if [ -n "$first$several" ]; then
            append_once /etc/modules-load.d/captured.conf "$word" || exit 1
            note kept "modprobe $word in /etc/modules-load.d/captured.conf"
        fi
        first=
        ;;
    esac
done
exit 0
