# Boots a host: becomes systemd-nspawn with the host's systemd as its first process. Arguments: its directory, its name,
# its number, the name of its cgroups, a directory that it sees at
# /opt/kubernetes, or nothing.
set -eu
directory=$1 name=$2 number=$3 cgroups=$4 programs=$5
# A kernel begins with no rules, routes or devices but its own; the card of a machine keeps its number.
ip netns add "$name"
ip link add "v$number" type veth peer name eth0 address "$(printf '02:00:0a:4d:00:%02x' "$number")" netns "$name"
ip link set "v$number" master br0 up
ip -n "$name" link set lo up
ip -n "$name" address add "10.77.0.$((10 + number))/24" dev eth0
ip -n "$name" address add "fd77::$((10 + number))/64" dev eth0 nodad
ip -n "$name" link set eth0 up
ip -n "$name" route add default via 10.77.0.1
ip -n "$name" -6 route add default via fd77::1

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
  --bind="$directory/etcd:/var/lib/etcd" --bind="$directory/docker:/var/lib/docker" \
  --resolv-conf=off --timezone=off --link-journal=no --console=read-only
