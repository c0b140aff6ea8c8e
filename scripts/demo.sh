#!/bin/bash
# The demonstration: from a fresh Debian 12 to a web server in a registry, the examples, and a node that boots. Nothing is
# left behind but installed packages, Cargo's target directory and the cached tar of the Debian base.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' off=$'\e[0m'; else bold= dim= off=; fi
step=0
say() { step=$((step + 1)); printf '\n%s== %d. %s%s\n' "$bold" "$step" "$1" "$off"; }
note() { printf '%s   %s%s\n' "$dim" "$1" "$off"; }
run() { printf '%s   $ %s%s\n' "$dim" "$(printf '%q ' "$@" | sed "s#$work#\$WORK#g; s#$root/##g; s#127.0.0.1:[0-9]*#REGISTRY#g")" "$off"; "$@"; }
fail() { printf 'demo: error: %s\n' "$1" >&2; exit 1; }

work=$(mktemp -d "${TMPDIR:-/tmp}/kiln-demo.XXXXXX")
registry_pid='' guest_pid='' runtime='' container=kiln-demo-$$ server_pid=''
cleanup() {
  local code=$?
  set +e
  if [ -n "$runtime" ]; then "$runtime" --root "$work/run" delete --force "$container" >/dev/null 2>&1; fi
  [ -z "$server_pid" ] || { kill "$server_pid"; wait "$server_pid"; } 2>/dev/null
  [ -z "$guest_pid" ] || { kill "$guest_pid"; wait "$guest_pid"; } 2>/dev/null
  [ -z "$registry_pid" ] || { kill "$registry_pid"; wait "$registry_pid"; } 2>/dev/null
  # Should anything still be mounted below, it must not be deleted through.
  if grep -q " $work/" /proc/self/mounts; then
    echo "demo: error: left mounted:" >&2; grep " $work/" /proc/self/mounts >&2; code=1
  else
    rm -rf --one-file-system "$work"
  fi
  [ $code = 0 ] || printf '\ndemo: failed in step %d\n' "$step" >&2
  exit $code
}
trap cleanup EXIT
trap 'exit 130' INT TERM

[ "$(id -u)" = 0 ] || fail "run as root: packages are installed, and RUN steps are isolated with namespaces"

say "What this machine lacks is installed from Debian"
scripts/setup.sh

say "Kiln is built, and is one static binary"
make --no-print-directory release
kiln=${CARGO_TARGET_DIR:-${KILN_TARGET_DIR:-target}}/x86_64-unknown-linux-gnu/release/kiln
kiln=$(realpath "$kiln")
export KILN_STORE=$work/store
export PATH=${kiln%/*}:$PATH
run kiln --version

say "Base images are made from Debian packages; no registry is asked"
note "busybox: FROM scratch, one file copied in, which then links its applets"
cp -r examples/busybox "$work/busybox"
cp /bin/busybox "$work/busybox/busybox"
run kiln build -t busybox "$work/busybox"
note "debian:bookworm: mmdebstrap's tar, imported"
base=$(scripts/debian-base.sh)
run kiln import --change 'CMD ["bash"]' "$base" debian:bookworm
run kiln images

say "A real application: compiled in one stage with packages from apt-get, served from another"
sed 's/^/   | /' examples/hello-web/Dockerfile
# RUN reaches the package mirror as this machine does.
arguments=()
proxy=$(apt-config shell p Acquire::http::Proxy); eval "$proxy"
[ -z "${p:-}" ] || arguments+=(--build-arg "http_proxy=$p")
run kiln build "${arguments[@]}" --build-arg GREETING="Hello from a fresh Debian" -t hello-web examples/hello-web

say "The same again: everything comes from the cache"
run kiln build "${arguments[@]}" --build-arg GREETING="Hello from a fresh Debian" -t hello-web examples/hello-web

say "What is in the image"
run kiln ls hello-web
run kiln history hello-web

say "It runs: unpacked by umoci, started by an OCI runtime, asked over loopback"
note "the store is an OCI layout: other tools read it where it is"
run skopeo --insecure-policy copy -q "oci:$KILN_STORE:docker.io/library/hello-web:latest" "oci:$work/unpack:demo"
umoci unpack --image "$work/unpack:demo" "$work/bundle" >/dev/null
sed -i 's/"terminal": true/"terminal": false/' "$work/bundle/config.json"
for candidate in runc crun; do
  command -v $candidate >/dev/null || continue
  $candidate --root "$work/run" run --bundle "$work/bundle" "$container" >"$work/server.log" 2>&1 & server_pid=$!
  for _ in $(seq 50); do
    if grep -q listening "$work/server.log"; then runtime=$candidate; break 2; fi
    kill -0 $server_pid 2>/dev/null || break
    sleep 0.1
  done
  note "$candidate cannot run containers on this machine: $(tail -n1 "$work/server.log")"
  $candidate --root "$work/run" delete --force "$container" >/dev/null 2>&1 || true
done
if [ -n "$runtime" ]; then
  note "started by $runtime in its own network namespace"
  inside=$("$runtime" --root "$work/run" state "$container" | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p')
else
  note "no runtime works here: started by chroot in a network namespace of its own"
  unshare --net --pid --fork --kill-child -- sh -c \
    'ip link set lo up && exec chroot --userspec=65534:65534 "$1" /server 8080 /page.html' sh "$work/bundle/rootfs" \
    >"$work/server.log" 2>&1 & server_pid=$!
  for _ in $(seq 50); do grep -q listening "$work/server.log" && break; sleep 0.1; done
  inside=$(pgrep -P "$server_pid")
fi
page=$(nsenter --net --target "$inside" curl -sS --max-time 10 http://127.0.0.1:8080/)
sed 's/^/   | /' <<<"$page"
grep -q "Hello from a fresh Debian" <<<"$page" || fail "the page is not the one that was built"

say "To a registry and back: pushed by kiln, copied by skopeo, the digests are compared"
cat > "$work/registry.yml" <<CONFIG
version: 0.1
log: {level: info, formatter: json}
storage: {filesystem: {rootdirectory: $work/registry}}
http: {addr: "127.0.0.1:0", secret: demo}
CONFIG
# The shell behind & makes the file in its own time.
: > "$work/registry.log"
docker-registry serve "$work/registry.yml" >>"$work/registry.log" 2>&1 & registry_pid=$!
for _ in $(seq 300); do
  registry=$(sed -n 's/.*listening on \(127.0.0.1:[0-9]*\).*/\1/p' "$work/registry.log")
  [ -z "$registry" ] || break
  sleep 0.1
done
[ -n "$registry" ] || fail "docker-registry did not start: $(tail -n1 "$work/registry.log")"
note "Debian's docker-registry listens on a free loopback port (REGISTRY)"
run kiln tag hello-web "$registry/demo/hello-web:1"
run kiln push "$registry/demo/hello-web:1"
run skopeo --insecure-policy copy -q --src-tls-verify=false "docker://$registry/demo/hello-web:1" "oci:$work/back:1"
pushed=$(skopeo inspect --tls-verify=false --format '{{.Digest}}' "docker://$registry/demo/hello-web:1")
back=$(skopeo inspect --format '{{.Digest}}' "oci:$work/back:1")
kept=sha256:$(kiln inspect --raw hello-web | sha256sum | cut -d' ' -f1)
printf '   in the store     %s\n   in the registry  %s\n   as skopeo has it %s\n' "$kept" "$pushed" "$back"
[ "$pushed" = "$back" ] && [ "$pushed" = "$kept" ] || fail "the digests differ"

say "The other examples"
run kiln build -t cache-mounts examples/cache-mounts
printf 's3cret' > "$work/token"
run kiln build --secret "id=token,src=$work/token" -t secrets examples/secrets
run kiln build -t static-site examples/static-site
run kiln ls static-site
{ kiln build --quiet --secret "id=token,src=$work/token" -o type=tar,dest=- examples/secrets
  kiln inspect --config secrets; kiln history --no-trunc secrets; } > "$work/secrets.txt"
if grep -aq s3cret "$work/secrets.txt"; then fail "the secret is in the image"; fi
note "the secret is neither in the files of the image, nor in its configuration, nor in its history"
run kiln du

say "A cluster image: a chart, a manifest and a list, packed with every image that they name"
note "stand-ins for Kubernetes' binaries and for the images, which no registry is asked for"
mkdir "$work/binaries"
for program in kubeadm kubelet kubectl; do cp /bin/busybox "$work/binaries/$program"; done
for image in example/web:7 example/dashboard:1.4 tools/backup:2; do kiln tag busybox "$image"; done
run kiln cluster base --kubernetes v1.30.2 --from "$work/binaries" --no-images -t kubernetes:v1.30.2
sed 's/^/   | /' examples/cluster-image/Kubefile
run kiln cluster build -t my-cluster:v1 examples/cluster-image
run kiln cluster images my-cluster:v1
run kiln push my-cluster:v1 "$registry/demo/my-cluster:v1"

say "A node: Debian with a kernel and containerd becomes a disk that boots"
ssh-keygen -q -t ed25519 -N '' -C demo -f "$work/key"
run kiln build "${arguments[@]}" --build-arg SSH_KEY="$(cat "$work/key.pub")" \
  -o "type=disk,format=qcow2,size=4G,boot=bios+uefi,dest=$work/node.qcow2" examples/debian-node
run qemu-img info "$work/node.qcow2"
note "will it work as a node? kubeadm's own checks, on the disk as it lies there"
run kiln node verify -p kubeadm "$work/node.qcow2"
# An emulated processor: slower than KVM, and the same on every machine.
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
note "it is booted by its BIOS boot loader, with an emulated processor; nothing is written to it"
qemu-system-x86_64 -M q35 -accel tcg,thread=multi -cpu max -smp 2 -m 1024 -nographic -snapshot \
  -drive "file=$work/node.qcow2,if=virtio" -device virtio-rng-pci \
  -nic "user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:$port-:22" </dev/null >"$work/console.log" 2>&1 & guest_pid=$!
login() {
  ssh -q -p "$port" -i "$work/key" -o BatchMode=yes -o ConnectTimeout=5 -o StrictHostKeyChecking=no \
    -o UserKnownHostsFile=/dev/null root@127.0.0.1 "$@"
}
for _ in $(seq 120); do
  if login true </dev/null 2>/dev/null; then break; fi
  kill -0 $guest_pid 2>/dev/null || fail "the machine stopped: $(tail -n3 "$work/console.log")"
  sleep 2
done
login 'echo "logged in to $(hostname): $(. /etc/os-release; echo "$PRETTY_NAME"), Linux $(uname -r)"; containerd --version' |
  sed 's/^/   | /' || fail "no login within four minutes: $(tail -n3 "$work/console.log")"

printf '\n%sDone: every step worked.%s\n' "$bold" "$off"
