#!/bin/sh
# uname: the kernel is the image's newest, not the one of the machine that builds.
. /dev/kiln/lib.sh
program=$(need uname) || exit 127
release=
for dir in /lib/modules/* /usr/lib/modules/*; do
    # What is left of a removed kernel has no list of modules.
    [ -f "$dir/modules.dep" ] || [ -f "$dir/modules.order" ] || [ -d "$dir/kernel" ] || continue
    release="$release${dir##*/}
"
done
release=$(printf '%s' "$release" | sort -V 2>/dev/null | tail -n 1)
[ -n "$release" ] || exec "$program" "$@"
case ${1-} in
-r | --kernel-release)
    printf '%s\n' "$release"
    exit 0
    ;;
esac
host=$("$program" -r)
text=$("$program" "$@") || exit
case $text in
*"$host"*) printf '%s\n' "${text%%"$host"*}$release${text#*"$host"}" ;;
*) printf '%s\n' "$text" ;;
esac
