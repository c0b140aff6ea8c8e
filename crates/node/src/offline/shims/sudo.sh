#!/bin/sh
# sudo: scripts are root's already. Its own PATH would hide the shims.
. /dev/kiln/lib.sh
program=$(need sudo) || exit 127
original_count=$#
for word in "$@"; do
    case $word in
    -u | --user | --user=* | -u* | -g | --group | --group=* | -l | -v | -V | --version | -e | -b | -D | -R)
        exec "$program" "$@"
        ;;
    -*) ;;
    *) break ;;
    esac
done
login=
while [ "$#" -gt 0 ]; do
    case $1 in
    -p | --prompt | -C | -T | -h | -r | -t | -U) shift ;;
    -i | -s | --login | --shell) login=1 ;;
    --)
        shift
        break
        ;;
    -*) ;;
    *=*) export "$1" ;;
    *) break ;;
    esac
    shift
done
if [ "$#" -eq 0 ]; then
    [ -n "$login" ] && exec "${SHELL:-/bin/sh}"
    [ "$original_count" -gt 0 ] && exit 0
    exec "$program"
fi
if [ -n "$login" ]; then exec "${SHELL:-/bin/sh}" -c "$*"; fi
exec "$@"
