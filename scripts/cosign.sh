#!/bin/bash
# Installs cosign, whose signatures Kiln reads and whose readers read Kiln's, into $KILN_EMULATORS or the user's cache:
# Debian 13's package, which Debian 12 has not, beside that release's C library. Nothing of it touches the system.
set -euo pipefail
dir=${KILN_EMULATORS:-${XDG_CACHE_HOME:-$HOME/.cache}/kiln-test}
place=$dir/cosign
suite=trixie

fail() { printf 'cosign: error: %s\n' "$1" >&2; printf 'hint: %s\n' "$2" >&2; exit 3; }

mkdir -p "$dir"
# Two at once would install into each other's directory.
exec 9> "$dir/.cosign.lock"
flock 9
[ "$(cat "$place/.suite" 2>/dev/null)" = "$suite" ] && { echo "cosign: it is there ($place)" >&2; exit 0; }

echo "cosign: installing that of Debian $suite into $place" >&2
rm -rf "$place"
mkdir -p "$place"/apt/{state/lists/partial,cache/archives/partial} "$place/root"
# The machine's own archive, which may be a mirror.
uri=$(apt-get indextargets --format "\$(ORIGIN)|\$(CODENAME)|\$(REPO_URI)" 'Created-By: Packages' 2>/dev/null |
  awk -F'|' '$1 == "Debian" && $2 !~ /-/ { print $3; exit }')
printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' \
  "${uri:-http://deb.debian.org/debian}" "$suite" > "$place/apt/sources.list"
apt() {
  apt-get -q -o Dir::Etc::sourcelist="$place/apt/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State="$place/apt/state" \
    -o Dir::Cache="$place/apt/cache" -o Acquire::Languages=none -o Acquire::Check-Valid-Until=false \
    -o APT::Sandbox::User=root "$@"
}
(
  apt update
  cd "$place/apt"
  apt download cosign libc6
  for package in *.deb; do dpkg-deb --extract "$package" "$place/root"; done
) > "$dir/cosign.log" 2>&1 ||
  { tail -n 20 "$dir/cosign.log" >&2; fail "cannot install cosign" "the Debian archive must be reachable; the whole log is $dir/cosign.log"; }
rm -rf "$place/apt"
cat > "$place/cosign" <<'RUN'
#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/root
exec "$root"/usr/lib/*-linux-gnu/ld-linux-*.so.* --library-path "$(echo "$root"/usr/lib/*-linux-gnu)" "$root/usr/bin/cosign" "$@"
RUN
chmod 755 "$place/cosign"
"$place/cosign" version > /dev/null || fail "cosign does not start" "remove $place and run this again"
echo "$suite" > "$place/.suite"
echo "cosign: it is there ($place)" >&2
