#!/bin/bash
# Makes a chroot of Debian sid that holds the current releases of the builders that Kiln is compared with, and prints
# its path: Docker (BuildKit), buildah, podman, and the runtimes they need. It is made once, below $KILN_PEERS or the
# user's cache; remove the directory to get newer releases. Package sources are those of this machine.
set -euo pipefail
dir=${KILN_PEERS:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/kiln-peers}
root=$dir/sid
suite=sid
packages=docker.io,docker-cli,docker-buildx,buildah,podman,runc,crun,skopeo,netavark,ca-certificates,xz-utils
tools=(usr/sbin/dockerd usr/bin/docker usr/libexec/docker/cli-plugins/docker-buildx usr/bin/buildah usr/bin/podman
       usr/bin/runc usr/bin/crun usr/bin/skopeo usr/bin/xz)

complete() {
  local tool
  for tool in "${tools[@]}"; do [ -x "$1/$tool" ] || return 1; done
}

# What the tools read: no more descriptors and processes than any machine allows, no service that starts by itself.
configure() {
  printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"; chmod 755 "$root/usr/sbin/policy-rc.d"
  mkdir -p "$root/etc/containers" "$root/etc/docker"
  cat > "$root/etc/containers/containers.conf" <<'CONF'
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
CONF
  cat > "$root/etc/docker/daemon.json" <<'CONF'
{
  "features": {"containerd-snapshotter": true},
  "exec-opts": ["native.cgroupdriver=cgroupfs"],
  "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 4096, "Hard": 4096}}
}
CONF
}

[ "$(id -u)" = 0 ] || { echo "peers: error: a chroot of other builders needs root" >&2; exit 3; }
mkdir -p "$dir"
exec 9> "$dir/lock"; flock 9
if complete "$root"; then
  configure; echo "$root"; exit 0
fi
command -v mmdebstrap >/dev/null ||
  { echo "peers: error: mmdebstrap is not installed: apt-get install mmdebstrap (scripts/setup.sh)" >&2; exit 3; }

# The machine's own Debian archive; third-party ones and those of security updates are left out.
archive() {
  apt-get indextargets --format "\$(ORIGIN)|\$(SUITE)|\$(CODENAME)|\$(REPO_URI)" 'Created-By: Packages' 2>/dev/null |
    awk -F'|' '$1 == "Debian" && $3 !~ /-/ { print $4; exit }'
}
uri=$(archive)
if [ -z "$uri" ]; then
  apt-get update -q >&2 || true
  uri=$(archive)
fi
uri=${uri:-http://deb.debian.org/debian}

# A mirror may be a snapshot whose index has expired.
options=(--variant=minbase --mode=root --quiet --include="$packages"
         --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Check-Date "false"')
proxy=$(apt-config shell p Acquire::http::Proxy); eval "$proxy"
[ -z "${p:-}" ] || options+=(--aptopt="Acquire::http::Proxy \"$p\"")
echo "peers: mmdebstrap $suite from $uri" >&2
rm -rf "$root.part"
mmdebstrap "${options[@]}" "$suite" "$root.part" "deb $uri $suite main" >&2
complete "$root.part" || { echo "peers: error: the packages of $suite have moved their tools: correct scripts/peers.sh" >&2; exit 3; }
rm -rf "$root"
mv "$root.part" "$root"
configure
echo "$root"
