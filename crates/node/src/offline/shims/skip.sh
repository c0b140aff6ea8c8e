#!/bin/sh
# Programs that act on what runs, and have nothing to act on: they succeed and are noted.
. /dev/kiln/lib.sh
name=${0##*/}
need "$name" >/dev/null || exit 127
for word in "$@"; do
    case $word in --version | --help) exec "$(real "$name")" "$@" ;; esac
done
note skipped "$name${1:+ $*}"
