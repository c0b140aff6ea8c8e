#!/bin/sh
# hostname, hostnamectl: the name the image will have.
. /dev/kiln/lib.sh
name=${0##*/}
need "$name" >/dev/null || exit 127
set_name() {
    case $1 in
    '' | *[!A-Za-z0-9.-]* | -* | .*)
        echo "$name: \`$1\` is not a host name" >&2
        exit 1
        ;;
    esac
    printf '%s\n' "$1" >/etc/hostname || exit 1
    note kept "$name $1 in /etc/hostname"
}
show() {
    if [ -s /etc/hostname ]; then cat /etc/hostname; else echo localhost; fi
}
new=
if [ "$name" = hostnamectl ]; then
    verb=
    for word in "$@"; do
        case $word in
        -*) ;;
        *) if [ -z "$verb" ]; then verb=$word; else new=$word; fi ;;
        esac
    done
    case $verb in
    set-hostname) set_name "$new" ;;
    hostname) if [ -n "$new" ]; then set_name "$new"; else show; fi ;;
    '' | status) show ;;
    *) note skipped "hostnamectl $*" ;;
    esac
    exit 0
fi
case ${1-} in
-F | --file)
    set_name "$(cat "$2")"
    ;;
'' | -*)
    full=$(show)
    case ${1-} in
    -s | --short) echo "${full%%.*}" ;;
    -d | --domain) case $full in *.*) echo "${full#*.}" ;; esac ;;
    -i | -I | --ip-address | --all-ip-addresses) echo 127.0.0.1 ;;
    *) echo "$full" ;;
    esac
    ;;
*) set_name "$1" ;;
esac
