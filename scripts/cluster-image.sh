#!/bin/bash
# Builds, with $KILN, an image of each program of Kubernetes that runs in a container, and the cluster image of all of
# them, and prints the directory: images/NAME.tar (docker's archives) and cluster.tar (what `kiln cluster load` takes).
# The programs are those of scripts/kubernetes.sh; `cluster-image.sh earlier` takes the release that is upgraded from, and
# `cluster-image.sh docker` has a kubelet that also runs pods with Docker. Kept below $KILN_KUBERNETES or the user's cache.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=${KILN_KUBERNETES:-${XDG_CACHE_HOME:-$HOME/.cache}/kiln-kubernetes}
kiln=$(realpath "${KILN:?names the program that builds the images}")
bin=$(scripts/kubernetes.sh "$@")
version=$("$bin/kubelet" --version)
version=${version##* }

fail() { printf 'cluster-image: error: %s\n' "$1" >&2; printf 'hint: %s\n' "$2" >&2; exit 3; }

# What kubeadm of this version calls its images; CoreDNS has a path of its own from 1.21 on.
list=$("$bin/kubeadm" config images list --kubernetes-version "$version" 2>/dev/null)
named() {
  grep -E "/$1:[^/]*\$" <<<"$list" || fail "kubeadm $version lists no image called $1" "run $bin/kubeadm config images list"
}

made="$version $(stat -c '%Y %s' "$kiln") $(sha256sum < scripts/cluster-image.sh) $(cd "$bin" && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)"
# What is made is of this version, with or without Docker in its kubelet.
case $bin in */bin-docker) out=$dir/image-$version-docker ;; *) out=$dir/image-$version ;; esac
exec 9> "$dir/.image.lock"
flock 9
if [ "$(cat "$out/.made" 2>/dev/null)" = "$made" ]; then
  echo "$out"; exit 0
fi
rm -rf "$out"
mkdir -p "$out/images"
work=$(mktemp -d /var/tmp/kiln-image.XXXXXX)
trap 'rm -rf "$work"' EXIT
export KILN_STORE=$work/store SOURCE_DATE_EPOCH=1611100800

# Copies the libraries that programs are linked with into a root directory.
libraries() {
  local root=$1 program library
  for program in "${@:2}"; do
    for library in $(ldd "$program" | grep -o '/[^ ]*'); do install -D "$library" "$root/$library"; done
  done
}

# Builds the Dockerfile on standard input in directory $work/NAME to image NAME:TAG.
image() {
  local name=$1 reference=$2
  mkdir -p "$work/$name"
  { echo 'FROM scratch'; echo 'ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin:/bin'; cat; } > "$work/$name/Dockerfile"
  "$kiln" build --quiet -t "$reference" --output "type=docker,dest=$out/images/$name.tar" "$work/$name" > /dev/null
}

for name in kube-apiserver kube-controller-manager kube-scheduler; do
  install -D "$bin/$name" "$work/$name/$name"
  image "$name" "$(named "$name")" <<< "COPY $name /usr/local/bin/"
done

# It calls iptables and conntrack; those are Debian's.
proxy=$work/kube-proxy/root
libraries "$proxy" /usr/sbin/xtables-nft-multi /usr/sbin/conntrack /usr/lib/x86_64-linux-gnu/xtables/libxt_statistic.so
install -D -t "$proxy/usr/sbin" /usr/sbin/xtables-nft-multi /usr/sbin/conntrack
for name in iptables ip6tables; do
  for verb in '' -save -restore; do ln -s xtables-nft-multi "$proxy/usr/sbin/$name$verb"; done
done
install -D -t "$proxy/usr/lib/x86_64-linux-gnu/xtables" /usr/lib/x86_64-linux-gnu/xtables/*.so
mkdir -p "$proxy/run" "$proxy/tmp" "$proxy/etc"
cp /etc/protocols "$proxy/etc/"
cp "$bin/kube-proxy" "$work/kube-proxy/"
image kube-proxy "$(named kube-proxy)" <<< $'COPY root /\nCOPY kube-proxy /usr/local/bin/'

libraries "$work/etcd/root" "$bin/etcd" "$bin/etcdctl"
cp "$bin"/{etcd,etcdctl} "$work/etcd/"
image etcd "$(named etcd)" <<< $'COPY root /\nCOPY etcd etcdctl /usr/local/bin/'

install -D "$bin/pause" "$work/pause/pause"
image pause "$(named pause)" <<< $'COPY pause /\nENTRYPOINT ["/pause"]'

# A stand-in for CoreDNS: docs/testing-clusters.md.
install -D "$bin/cluster-dns" "$work/coredns/cluster-dns"
image coredns "$(named coredns)" <<< $'COPY cluster-dns /\nENTRYPOINT ["/cluster-dns"]'

# A stand-in for flannel, with the objects of flannel's manifest.
mkdir -p "$work/flannel"
cp -r "$proxy" "$work/flannel/root"
install -D /bin/busybox "$work/flannel/root/bin/cp"
cp "$bin"/{flannel,flanneld} "$work/flannel/"
image flannel kiln.test/flannel:1 <<< $'COPY root /\nCOPY flanneld /opt/bin/\nCOPY flannel /'

# What tests deploy: a server that says on which pod it is.
install -D /bin/busybox "$work/web/busybox"
image web kiln.test/web:1 <<'FILE'
COPY busybox /bin/
COPY busybox /bin/sh
CMD ["/bin/sh", "-c", "/bin/busybox mkdir -p /www; echo $HOSTNAME > /www/index.html; exec /bin/busybox httpd -f -p 8080 -h /www"]
FILE

# The cluster image: the programs of a node, and all of these images.
from=$work/from
mkdir -p "$from/bin"
cp "$bin"/{kubeadm,kubelet,kubectl,crictl} "$from/bin/"
cp -r "$bin/cni" "$from/cni"
mkdir "$from/manifests"
{ echo "$list"; echo kiln.test/web:1; } > "$from/manifests/imageList"
cp scripts/kubernetes/kube-flannel.yml "$from/manifests/"
images=()
for archive in "$out"/images/*.tar; do images+=(--images "$archive"); done
"$kiln" cluster base --quiet --kubernetes "$version" --from "$from" "${images[@]}" -t "kubernetes:$version" > /dev/null
"$kiln" cluster save "kubernetes:$version" -o "$out/cluster.tar" --quiet
echo "$made" > "$out/.made"
echo "$out"
