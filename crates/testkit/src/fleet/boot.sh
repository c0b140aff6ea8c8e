# Boots a host: becomes systemd-nspawn with the host's systemd as its first process. Arguments: its directory, its name,
# its number, the name of its cgroups, a directory that it sees at
# /opt/kubernetes, or nothing.
set -eu
directory=$1 name=$2 number=$3 cgroups=$4 programs=$5
for hierarchy in $(awk '$3 ~ /^cgroup2?$/ { print $2 }' /proc/mounts); do
  echo 0 > "$hierarchy/$cgroups/cgroup.procs"
done
export SYSTEMD_NSPAWN_API_VFS_WRITABLE=1
exec systemd-nspawn --quiet --boot --register=no --keep-unit --notify-ready=yes \
  --directory="$directory/root" --machine="$name" --hostname="$name" --uuid="$(printf '%032x' $((0xb0ed00 + number)))" \
  --network-namespace-path="/run/netns/$name" \
  --capability=all --system-call-filter='@keyring bpf perf_event_open' \
  --bind=/dev/kmsg ${programs:+"--bind-ro=$programs:/opt/kubernetes"} \
  --bind="$directory/containerd:/var/lib/containerd" --bind="$directory/kubelet:/var/lib/kubelet" \
  --bind="$directory/etcd:/var/lib/etcd" \
  --resolv-conf=off --timezone=off --link-journal=no --console=read-only
