#!/bin/bash
# Builds Kiln's own image with Kiln. Arguments go to `kiln build`; without any, the image is kept as kiln:latest.
#
# KILN      the static binary that goes into the image, and builds it [default: the release build]
# CERTS     the certificate authorities in it [default: those of ca-certificates]
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
kiln=${KILN:-${CARGO_TARGET_DIR:-$here/target}/x86_64-unknown-linux-gnu/release/kiln}
certs=${CERTS:-/etc/ssl/certs/ca-certificates.crt}

fail() { printf 'image: error: %s\n' "$1" >&2; printf 'hint: %s\n' "$2" >&2; exit 3; }

[ -x "$kiln" ] || fail "there is no $kiln" "make release"
[ -r "$certs" ] || fail "there is no $certs" "apt-get install ca-certificates"

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
root=$context/rootfs
mkdir -p "$root"/{kaniko/.docker,kaniko/ssl/certs,usr/local/bin,etc,root,tmp,workspace}
chmod 755 "$context" "$root"
chmod 1777 "$root/tmp"
cp "$here/deploy/image/Dockerfile" "$context/"
install -m 755 "$kiln" "$root/kaniko/executor"
ln -s executor "$root/kaniko/warmer"
ln -s /kaniko/executor "$root/usr/local/bin/kiln"
install -m 644 "$certs" "$root/kaniko/ssl/certs/ca-certificates.crt"
printf 'root:x:0:0:root:/root:\nnobody:x:65534:65534:nobody:/:\n' > "$root/etc/passwd"
printf 'root:x:0:\nnobody:x:65534:\n' > "$root/etc/group"

[ $# -gt 0 ] || set -- -t kiln
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-0}
"$kiln" build "$@" "$context"
