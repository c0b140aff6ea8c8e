#!/bin/sh
# chattr: layers of files have no such flags. They are told to Kiln, which sets them where it writes a file system that
# has them.
. /dev/kiln/lib.sh
need chattr >/dev/null || exit 127
flags=
missing=0
for word in "$@"; do
    case $word in
    -R) flags=" -R$flags" ;;
    -V | -f | -v | -p) ;;
    [+=-]*) flags="$flags $word" ;;
    *)
        if [ -e "$word" ] || [ -L "$word" ]; then
            case $word in /*) path=$word ;; *) path=$PWD/$word ;; esac
            note "flags" "chattr$flags $path"
        else
            echo "chattr: No such file or directory while trying to stat $word" >&2
            missing=1
        fi
        ;;
    esac
done
exit "$missing"
