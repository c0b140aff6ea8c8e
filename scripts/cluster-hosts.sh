#!/bin/bash
# Makes the root directory of the hosts that clusters are launched on in tests, and prints its path: Debian 12 with systemd,
# SSH, containerd, Docker and what kubeadm looks for, and what it takes that a container on a machine with few rights is such a
# host (docs/testing-clusters.md says why each of it). Kept below $KILN_KUBERNETES or the user's cache.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=${KILN_KUBERNETES:-${XDG_CACHE_HOME:-$HOME/.cache}/kiln-kubernetes}
root=$dir/host

packages=(systemd systemd-sysv dbus openssh-server sudo iproute2 iptables iputils-ping conntrack socat ethtool ebtables kmod
  procps netbase containerd docker.io)
tar=$(scripts/debian-base.sh cluster-host-docker "${packages[@]}")
mkdir -p "$dir"
exec 9> "$dir/.host.lock"
flock 9
made="$(stat -c '%Y %s' "$tar") $(sha256sum < scripts/cluster-hosts.sh)"
if [ "$(cat "$dir/.host" 2>/dev/null)" = "$made" ]; then
  echo "$root"; exit 0
fi

rm -rf "$root" "$dir/.host"
mkdir -p "$root"
tar -xpf "$tar" -C "$root" --exclude './dev/*' --numeric-owner

# Each host has its own, and no sysctl of the machine is set.
rm -f "$root"/etc/ssh/ssh_host_* "$root"/etc/hostname "$root"/usr/lib/sysctl.d/* "$root"/etc/sysctl.d/* "$root"/etc/systemd/system/timers.target.wants/*
: > "$root/etc/machine-id"
# Nobody answers there, and says so at once. One of the host itself would be what CoreDNS must not ask.
echo 'nameserver 10.77.0.1' > "$root/etc/resolv.conf"
ln -sf /dev/null "$root/etc/systemd/system/console-getty.service"
# A user who must say a password for sudo.
chroot "$root" useradd --create-home --shell /bin/bash --groups sudo admin
echo 'admin:an-admins-password' | chroot "$root" chpasswd

# Docker is there and does not run: hosts are those of containerd until a test starts it.
rm -f "$root"/etc/systemd/system/*.wants/docker.*

unit() { mkdir -p "$(dirname "$root/etc/systemd/system/$1")"; cat > "$root/etc/systemd/system/$1"; }

# Nobody without CAP_SYS_RESOURCE may lower a score below its own.
unit containerd.service.d/host.conf <<'UNIT'
[Service]
OOMScoreAdjust=0
UNIT
# The same, and no limit is raised.
unit docker.service.d/host.conf <<'UNIT'
[Service]
OOMScoreAdjust=0
LimitNOFILE=
LimitNPROC=
LimitCORE=
UNIT
cat > "$root/usr/local/sbin/runc" <<'RUN'
#!/bin/sh
# The runtime in a machine where nobody may lower an oom_score_adj, and rights may be missing that Docker gives to privileged
# containers: those that ask for them get 0, and do without.
bundle=. process=
previous=
for argument in "$@"; do
  case $previous in
    --bundle|-b) bundle=$argument ;;
    --process|-p) process=$argument ;;
  esac
  case $argument in --bundle=*) bundle=${argument#--bundle=} ;; esac
  previous=$argument
done
edits='s/"oomScoreAdj":-[0-9]*/"oomScoreAdj":0/'
# Right 24 raises limits.
while read -r name rights; do
  [ "$name" != CapBnd: ] || [ $((0x$rights >> 24 & 1)) = 1 ] ||
    edits="$edits;s/\"CAP_SYS_RESOURCE\",//g;s/,\"CAP_SYS_RESOURCE\"//g"
done < /proc/self/status
for file in "$bundle/config.json" "$process"; do
  [ ! -f "$file" ] || sed -i "$edits" "$file"
done
exec /usr/sbin/runc "$@"
RUN
chmod 755 "$root/usr/local/sbin/runc"

unit kiln-host.service <<'UNIT'
[Unit]
Description=What a container lacks to be a node
DefaultDependencies=no
Before=sysinit.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/kiln-host
UNIT
mkdir -p "$root/etc/systemd/system/sysinit.target.wants"
ln -s ../kiln-host.service "$root/etc/systemd/system/sysinit.target.wants/kiln-host.service"
cat > "$root/usr/local/sbin/kiln-host" <<'RUN'
#!/bin/sh
# Makes of a container what a node is: kubelet wants shared mounts and cgroups that it can write.
set -e
# What of /sys is the network's is that of the namespace in which it was mounted: the one that the host was started from.
mkdir -p /run/kiln-host/sys
mount -t sysfs -o nosuid,nodev,noexec sysfs /run/kiln-host/sys
for part in class/net devices/virtual/net; do mount --bind /run/kiln-host/sys/$part /sys/$part; done
mount --make-rshared /
for controller in /sys/fs/cgroup/*; do
  [ -L "$controller" ] || ! mountpoint -q "$controller" || mount -o remount,bind,rw "$controller"
done
mkdir -p /run/kiln-host
# A firmware has one number for each machine; this one's hosts have the same.
number=/sys/class/dmi/id/product_uuid
if [ -e $number ]; then
  sed 's/^\(.\{8\}\)\(....\)\(....\)\(....\)/\1-\2-\3-\4-/' /etc/machine-id > /run/kiln-host/product_uuid
  mount --bind /run/kiln-host/product_uuid "$(readlink -f $number)"
fi
# Sysctls that kubelet sets and that are the whole machine's: it finds what it wants, in files of this host's own.
while read -r name value; do
  [ -e "/proc/sys/$name" ] || continue
  echo "$value" > "/run/kiln-host/${name##*/}"
  mount --bind "/run/kiln-host/${name##*/}" "/proc/sys/$name"
done <<'SYSCTLS'
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
SYSCTLS
RUN
chmod 755 "$root/usr/local/sbin/kiln-host"

echo "$made" > "$dir/.host"
echo "$root"
