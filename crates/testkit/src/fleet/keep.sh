# Keeps a fleet for as long as somebody holds the other end of its standard input, then removes every trace of it; so
# nothing remains of a test that was killed. Arguments: the fleet's directory, the name of its cgroups.
set -u
directory=$1 cgroups=$2
exec 3<&0 4>&1 </dev/null
unshare --mount --net --pid --fork --kill-child=KILL --propagation private -- sh -c '
  set -e
  # Of the machine still: this process as others see it.
  read -r init rest < /proc/self/stat
  mount -t proc proc /proc
  mount -t tmpfs tmpfs /run
  mkdir /run/netns
  ip link set lo up
  ip link add br0 type bridge
  ip address add 10.77.0.1/24 dev br0
  ip address add fd77::1/64 dev br0 nodad
  ip link set br0 up
  echo "$init" >&4
  exec 3<&- 4>&-
  # Somebody must wait for what loses its parent.
  while :; do sleep 3600 & wait; done
' &
fleet=$!
exec 4>&- >/dev/null
cat <&3 >/dev/null
kill -KILL "$fleet" 2>/dev/null
wait "$fleet" 2>/dev/null
# What was killed needs a moment to be gone.
groups=$(awk -v name="$cgroups" '$3 ~ /^cgroup2?$/ { print $2 "/" name }' /proc/mounts)
for attempt in $(seq 50); do
  find $groups -depth -type d -exec rmdir {} + 2>/dev/null
  [ -n "$(find $groups -maxdepth 0 2>/dev/null)" ] || break
  sleep 0.2
done
rm -rf --one-file-system "$directory"
