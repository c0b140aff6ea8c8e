#!/bin/bash
# Checks that a binary is statically linked: it must run on a machine, or in an image, that has no C library.
set -euo pipefail
binary=$1
# `file` says "static-pie linked" or "statically linked".
about=$(file -b "$binary")
case $about in
  *"static-pie linked"*|*"statically linked"*) ;;
  *) echo "static: error: $binary is not static: $about" >&2; exit 1 ;;
esac
if readelf -d "$binary" 2>/dev/null | grep -q NEEDED; then
  echo "static: error: $binary needs shared libraries" >&2; exit 1
fi
echo "$binary: static, $(stat -c %s "$binary" | numfmt --to=iec)" >&2
