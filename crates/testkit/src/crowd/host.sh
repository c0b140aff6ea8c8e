# Starts so many hosts, inside of the keeper's namespaces. Arguments: the directory of the crowd, the root directory that all
# share, the directory of the stand-ins, how many.
set -eu
directory=$1 lower=$2 standins=$3 count=$4
ip address add 10.78.0.1/16 dev br0
mkdir -p "$directory/cluster/nodes"
number=0
while [ "$number" -lt "$count" ]; do
  number=$((number + 1))
  name=host$number dir=$directory/$number
  address=10.78.$((number / 200 + 1)).$((number % 200 + 1))
  mkdir -p "$dir/upper/etc/ssh" "$dir/upper/root/.ssh" "$dir/upper/usr/bin" "$dir/work" "$dir/root"
  chmod 700 "$dir/upper/root" "$dir/upper/root/.ssh"
  cp "$directory/host_key" "$dir/upper/etc/ssh/ssh_host_ed25519_key"
  cp "$directory/id_ed25519.pub" "$dir/upper/root/.ssh/authorized_keys"
  cp "$standins/systemctl" "$dir/upper/usr/bin/systemctl"
  echo "$name" > "$dir/upper/etc/hostname"
  printf '127.0.0.1 localhost\n%s %s\n' "$address" "$name" > "$dir/upper/etc/hosts"
  printf '%032x\n' $((0xc0ed00 + number)) > "$dir/upper/etc/machine-id"
  mount -t overlay overlay -o "lowerdir=$lower,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"
  ip netns add "$name"
  ip link add "c$number" type veth peer name eth0 netns "$name"
  ip link set "c$number" master br0 up
  ip -n "$name" -batch - <<BATCH
link set lo up
address add $address/16 dev eth0
link set eth0 up
route add default via 10.78.0.1
BATCH
  nsenter --net="/run/netns/$name" unshare --mount --uts --pid --fork --propagation private -- sh -c '
    set -e
    root=$1 name=$2 cluster=$3
    hostname "$name"
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    mount -t tmpfs tmpfs "$root/dev"
    mkdir "$root/dev/pts" "$root/dev/shm"
    for device in null zero full random urandom tty; do
      : > "$root/dev/$device"
      mount --bind "/dev/$device" "$root/dev/$device"
    done
    ln -s /proc/self/fd "$root/dev/fd"
    mount -t tmpfs tmpfs "$root/run"
    mkdir "$root/run/sshd" "$root/run/cluster"
    mount --bind "$cluster" "$root/run/cluster"
    number=/devices/virtual/dmi/id/product_uuid
    if [ -e "$root/sys$number" ]; then
      cp "$root/etc/machine-id" "$root/run/product_uuid"
      mount --bind "$root/run/product_uuid" "$root/sys$number"
    fi
    exec chroot "$root" sh -c "/usr/sbin/sshd -D -o UsePAM=no -o UseDNS=no & while :; do wait; sleep 3600; done"
  ' host "$dir/root" "$name" "$directory/cluster" </dev/null >"$dir/console" 2>&1 &
done
# Until all of them answer.
number=0
while [ "$number" -lt "$count" ]; do
  number=$((number + 1))
  attempt=0
  until nsenter --net="/run/netns/host$number" ss -Hltn 'sport = 22' | grep -q LISTEN; do
    attempt=$((attempt + 1))
    [ "$attempt" -lt 300 ] || { echo "host$number does not come up: $(cat "$directory/$number/console")" >&2; exit 1; }
    sleep 0.1
  done
done
