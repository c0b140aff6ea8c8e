#!/bin/bash
# Installs what scripts/packages.txt lists and is not there yet, and checks the Rust toolchain. Safe to run again.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
min_rust=1.95

fail() { printf 'setup: error: %s\n' "$1" >&2; [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2; exit 3; }

find_missing() {
  local package file _
  missing=()
  while read -r package file _; do
    case $package in ''|'#'*) continue ;; esac
    [ -e "$file" ] || missing+=("$package")
  done < "$here/packages.txt"
}
find_missing

# Daemons that the packages bring must neither start now nor at boot: tests start their own, on free ports.
install_packages() {
  local policy=/usr/sbin/policy-rc.d ours=no
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' > "$policy"; chmod 755 "$policy"; ours=yes
    # shellcheck disable=SC2064
    trap "rm -f $policy" EXIT
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q
  apt-get install -y -q --no-install-recommends "${missing[@]}"
  local daemon
  for daemon in docker-registry apt-cacher-ng openssh-server nsd; do
    if [ -d /run/systemd/system ] && printf '%s\n' "${missing[@]}" | grep -qx "$daemon"; then
      # The service of openssh-server is ssh; others are named as their packages.
      systemctl disable --now "${daemon/openssh-server/ssh}" || true
    fi
  done
  [ $ours = no ] || { rm -f "$policy"; trap - EXIT; }
}

if [ ${#missing[@]} -gt 0 ]; then
  command -v apt-get >/dev/null ||
    fail "missing: ${missing[*]}" "they are Debian packages and there is no apt-get here; install what brings these tools"
  [ "$(id -u)" = 0 ] || fail "missing packages: ${missing[*]}" "run as root: scripts/setup.sh"
  echo "setup: installing ${missing[*]}" >&2
  install_packages
  # A package may push out another of the list that came from a newer suite (backports); that one is installed again.
  find_missing
  [ ${#missing[@]} -eq 0 ] || install_packages
  while read -r package file _; do
    case $package in ''|'#'*) continue ;; esac
    [ -e "$file" ] || fail "$package is installed, but $file is not there" "correct its row in scripts/packages.txt"
  done < "$here/packages.txt"
fi

command -v cargo >/dev/null || fail "cargo is not installed" "https://rustup.rs, Rust $min_rust or newer"
have=$(cargo --version | cut -d' ' -f2)
[ "$(printf '%s\n' "$min_rust" "$have" | sort -V | head -n1)" = "$min_rust" ] ||
  fail "cargo is $have, Kiln needs $min_rust or newer" "rustup update stable"
echo "setup: everything is there (cargo $have)" >&2
