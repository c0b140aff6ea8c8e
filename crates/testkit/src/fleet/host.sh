# Makes what a host needs to be booted, inside of the fleet's namespaces. Arguments: its directory, the root directory that
# all share, the name of its cgroups.
set -eu
directory=$1 lower=$2 cgroups=$3
cd "$directory"
mkdir -p upper work root containerd docker kubelet etcd
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$directory/upper,workdir=$directory/work" root

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
