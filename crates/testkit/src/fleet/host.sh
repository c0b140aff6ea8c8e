# Makes what a host needs to be booted, inside of the fleet's namespaces. Arguments: its directory, its name, its number,
# the root directory that all share, the name of its cgroups.
set -eu
directory=$1 name=$2 number=$3 lower=$4 cgroups=$5
cd "$directory"
mkdir -p upper work root containerd kubelet etcd
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$directory/upper,workdir=$directory/work" root

ip netns add "$name"
ip link add "v$number" type veth peer name eth0 netns "$name"
ip link set "v$number" master br0 up
ip -n "$name" link set lo up
ip -n "$name" address add "10.77.0.$((10 + number))/24" dev eth0
ip -n "$name" link set eth0 up
ip -n "$name" route add default via 10.77.0.1

for hierarchy in $(awk '$3 ~ /^cgroup2?$/ { print $2 }' /proc/mounts); do
  mkdir -p "$hierarchy/$cgroups"
  # Groups of cpuset have nothing until they are told.
  for level in "$hierarchy/${cgroups%/*}" "$hierarchy/$cgroups"; do
    if [ -e "$level/cpuset.mems" ] && [ -z "$(cat "$level/cpuset.mems")" ]; then
      cat "${level%/*}/cpuset.cpus" > "$level/cpuset.cpus"
      cat "${level%/*}/cpuset.mems" > "$level/cpuset.mems"
    fi
  done
done
