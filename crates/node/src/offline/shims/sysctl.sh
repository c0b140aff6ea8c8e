#!/bin/sh
# sysctl: what would be written into the kernel is kept for the image's.
. /dev/kiln/lib.sh
program=$(need sysctl) || exit 127
kept=/etc/sysctl.d/90-captured.conf
sets=
reads=
for word in "$@"; do
    case $word in
    -w | --write) sets=1 ;;
    -p | --load | -p* | --load=* | --system)
        note skipped "sysctl $* (files of settings are read when the image starts)"
        exit 0
        ;;
    -*) ;;
    *=*) sets=1 ;;
    *) reads=1 ;;
    esac
done
[ -n "$sets" ] || exec "$program" "$@"

# guard NAME VALUE: fails if somebody else sets it to something else.
guard() {
    [ -f "$kiln_dir/guard" ] || return 0
    while IFS='	' read -r owned_name owned_value owner; do
        [ "$owned_name" = "$1" ] || continue
        [ "$owned_value" = "$2" ] && return 0
        echo "sysctl: $1 is set to \`$2\`, but $owner sets it to \`$owned_value\`; sysctl_allow in the template allows it by name" >&2
        return 1
    done <"$kiln_dir/guard"
    return 0
}

# keep NAME VALUE: the last value of a name counts.
keep() {
    mkdir -p /etc/sysctl.d || return 1
    {
        [ ! -f "$kept" ] || while IFS= read -r line; do
            case $line in "$1 = "*) ;; *) printf '%s\n' "$line" ;; esac
        done <"$kept"
        printf '%s = %s\n' "$1" "$2"
    } >"$kept.new" && mv "$kept.new" "$kept"
}

for word in "$@"; do
    case $word in
    -*) continue ;;
    *=*) ;;
    *) continue ;;
    esac
    name=${word%%=*}
    value=${word#*=}
    # Blanks around the sign are allowed; a slash is another way to write a dot.
    name=$(printf '%s' "$name" | tr -d ' \t' | tr / .)
    value=$(printf '%s' "$value" | tr '\t' ' ' | sed 's/^ *//; s/ *$//; s/  */ /g')
    guard "$name" "$value" || exit 1
    keep "$name" "$value" || exit 1
    note kept "sysctl $name=$value in $kept"
    printf '%s = %s\n' "$name" "$value"
done
[ -z "$reads" ] || note unknown "sysctl $*"
