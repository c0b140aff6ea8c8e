#!/bin/bash
# Makes a minimal Debian bookworm root filesystem with mmdebstrap and prints the path of its tar. Package sources are
# those of this machine, so it works behind a mirror or proxy. The tar is kept for a week.
#   debian-base.sh                  the minimal one
#   debian-base.sh NAME PACKAGE…    another one, that also has these packages
set -euo pipefail
suite=bookworm
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/kiln-demo
tar=$cache/debian-$suite${1:+-$1}.tar
include=()
for package in "${@:2}"; do include+=("--include=$package"); done

if [ -s "$tar" ] && [ -n "$(find "$tar" -mtime -7)" ]; then
  echo "$tar"; exit 0
fi
[ "$(id -u)" = 0 ] || { echo "debian-base: error: mmdebstrap keeps ownership only as root" >&2; exit 3; }
mkdir -p "$cache"
exec 9> "$cache/lock"; flock 9
# Another run may have made it while this one waited.
if [ -s "$tar" ] && [ -n "$(find "$tar" -mtime -7)" ]; then
  echo "$tar"; exit 0
fi

# The machine's own archives of the suite; third-party ones are left out by their origin.
sources() {
  apt-get indextargets --format "\$(ORIGIN)|\$(CODENAME)|\$(REPO_URI)|\$(COMPONENT)" 'Created-By: Packages' 2>/dev/null |
    sort -u | while IFS='|' read -r origin codename uri component; do
      [ "$origin" = Debian ] || continue
      case $codename in "$suite"|"$suite-updates"|"$suite-security") ;; *) continue ;; esac
      case $component in main) echo "deb $uri $codename $component" ;; esac
    done
}
list=$(sources)
if ! grep -q " $suite main" <<<"$list"; then
  apt-get update -q >&2 || true
  list=$(sources)
fi
grep -q " $suite main" <<<"$list" || list="deb http://deb.debian.org/debian $suite main"

options=(--variant=minbase --mode=root --quiet "${include[@]}")
proxy=$(apt-config shell p Acquire::http::Proxy); eval "$proxy"
[ -z "${p:-}" ] || options+=(--aptopt="Acquire::http::Proxy \"$p\"")
if grep -q 'deb https:' <<<"$list"; then
  options+=(--include=ca-certificates
            --customize-hook='copy-in /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs')
fi
echo "debian-base: mmdebstrap $suite from $(awk '{print $2}' <<<"$list" | sort -u | tr '\n' ' ')" >&2
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(date +%s)} \
  mmdebstrap "${options[@]}" "$suite" "$tar.part.tar" - <<<"$list" >&2
mv "$tar.part.tar" "$tar"
echo "$tar"
