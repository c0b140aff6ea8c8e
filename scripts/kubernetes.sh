#!/bin/bash
# Makes a real Kubernetes 1.20 for the tests that launch clusters (make test-cluster), in $KILN_KUBERNETES or the user's
# cache, of what Debian 12 has: Kubernetes' source, which it packages but does not build all of; Go, etcd and kubectl.
# What cannot be had is replaced by a stand-in, named as such in docs/testing-clusters.md. With KILN_K8S_BIN=DIR nothing is
# compiled: the binaries of that directory, of another version, are used.
# `kubernetes.sh earlier` makes the minor release that clusters are upgraded from as well, with Go's cache of the first: the
# same source, linked with another version; or takes KILN_K8S_BIN_EARLIER=DIR.
# `kubernetes.sh docker` makes, of the first release, a kubelet that also runs pods with Docker, as those before 1.24 do; what is
# beside it in its directory is the same.
# With several words all of it is made, and the directory is that of the last one.
# Prints the directory with the programs, and Debian's CNI plugins in cni/. Safe to run again; quick when everything is there, and goes on where it was
# interrupted.
set -euo pipefail
cd "$(dirname "$0")/.."

version=v1.20.2
earlier=v1.19.16
upstream=1.20.5+really1.20.2 # as Debian calls it
upstream_sha256=b83c0780efb182d928dc63d46488a847f161f04e40a94b96bf5247dd671ecdfc
recipe=2                     # to be raised when what is built changes

dir=${KILN_KUBERNETES:-${XDG_CACHE_HOME:-$HOME/.cache}/kiln-kubernetes}
compiled=(kubeadm kube-proxy kubelet kube-apiserver kube-controller-manager kube-scheduler)
others=(kubectl etcd etcdctl pause)
# Programs of scripts/kubernetes/, compiled in Kubernetes' tree.
standins=(crictl cluster-dns flanneld flannel)

fail() { printf 'kubernetes: error: %s\n' "$1" >&2; printf 'hint: %s\n' "$2" >&2; exit 3; }
say() { printf 'kubernetes: %s\n' "$1" >&2; }

# Directories of programs that are compiled here: of each version one.
sets=(bin) docker=() given=${KILN_K8S_BIN:-} chosen=bin
for word in "$@"; do
  case $word in
    earlier)
      given=${KILN_K8S_BIN_EARLIER:-}
      sets+=("bin-$earlier") chosen=bin-$earlier
      [ -n "$given" ] || [ -z "${KILN_K8S_BIN:-}" ] ||
        fail "KILN_K8S_BIN is set, and KILN_K8S_BIN_EARLIER is not" "it names a directory with the programs of the release that is upgraded from"
      ;;
    # Programs that are given are of newer releases, in which no kubelet knows Docker: this one is compiled in any case.
    docker) given='' docker=(bin-docker/kubelet) chosen=bin-docker ;;
    *) fail "unknown word $word" "nothing, or the words earlier and docker" ;;
  esac
done
if [ -n "$given" ]; then
  for name in "${compiled[@]}" kubectl; do
    [ -x "$given/$name" ] || fail "$given has no program $name" "it has to have ${compiled[*]} and kubectl"
  done
  compiled=() others=(etcd etcdctl pause) sets=(bin) docker=()
fi

# Ends with what is printed; programs that were given stand before those made here.
done_with() {
  say "everything is there ($dir)"
  rm -rf "$dir/work"
  mkdir -p "$dir/bin/cni"
  cp --update /usr/lib/cni/{bridge,host-local,loopback,portmap,firewall} "$dir/bin/cni"
  chosen=$dir/$chosen
  [ -z "$given" ] || chosen=$dir/bin-of-$(realpath "$given" | sha256sum | cut -c1-12)
  if [ "$chosen" != "$dir/bin" ]; then
    mkdir -p "$chosen"
    cp -r --update "$dir"/bin/{cni,etcd,etcdctl,pause,crictl,cluster-dns,flanneld,flannel} "$chosen"
    if [ -n "$given" ]; then cp -r --update "$given"/* "$chosen"; else cp --update "$dir/bin/kubectl" "$chosen"; fi
    case $chosen in */bin-docker)
      for program in "${compiled[@]}"; do [ "$program" = kubelet ] || cp --update "$dir/bin/$program" "$chosen"; done ;;
    esac
  fi
  echo "$chosen"
  exit 0
}

mkdir -p "$dir/bin"
# Two at once would write into each other's directory.
exec 9> "$dir/.lock"
flock 9

if [ "$(cat "$dir/.recipe" 2>/dev/null)" != "$upstream $recipe" ]; then
  rm -rf "$dir"/bin "$dir"/bin-v* "$dir/bin-docker" "$dir/work" "$dir/SHA256SUMS"
  mkdir -p "$dir/bin"
  echo "$upstream $recipe" > "$dir/.recipe"
fi

# Programs that are there and are what they were when they were made. Those of all versions follow each other.
wanted=()
for name in "${others[@]}" "${standins[@]}"; do wanted+=("bin/$name"); done
for name in "${compiled[@]}"; do
  for set in "${sets[@]}"; do wanted+=("$set/$name"); done
done
wanted+=("${docker[@]}")
# Whether a program is made of what its source is now; only stand-ins have their source here.
source_is() { [ ! -d "scripts/kubernetes/$1" ] || [ "$(cat "$dir/.source-$1" 2>/dev/null)" = "$(source_sum "$1")" ]; }
source_sum() { cat scripts/kubernetes/"$1"/*.go | sha256sum; }
missing=()
for file in "${wanted[@]}"; do
  line=$(grep -s "  $file\$" "$dir/SHA256SUMS" || true)
  [ -n "$line" ] && (cd "$dir" && sha256sum --check --status <<<"$line") && source_is "${file##*/}" || missing+=("$file")
done
[ ${#missing[@]} -gt 0 ] || done_with

goroot=/usr/lib/go-1.19
[ -x $goroot/bin/go ] || fail "Go 1.19 is not installed" "apt-get install golang-go (scripts/setup.sh installs it)"
work=$dir/work
tree=$work/go/src/k8s.io/kubernetes
mkdir -p "$work/debs"

# A finished program takes its place, SET/NAME, and its checksum is noted.
finish() {
  chmod 755 "$1"
  strip --strip-all "$1" 2>/dev/null || true # scripts have no symbols
  mkdir -p "$dir/${2%/*}"
  mv "$1" "$dir/$2"
  { grep -sv "  $2\$" "$dir/SHA256SUMS" || true; (cd "$dir" && sha256sum "$2"); } > "$work/sums"
  mv "$work/sums" "$dir/SHA256SUMS"
}

# The files of Debian package $1, below $work/debs/$1; apt verifies them.
package() {
  [ -d "$work/debs/$1" ] && return
  say "fetching Debian's $1"
  (cd "$work/debs" && apt-get -q download "$1" > "$dir/kubernetes.log" 2>&1) ||
    { tail -n 20 "$dir/kubernetes.log" >&2; fail "cannot fetch $1" "the Debian archive must be reachable: apt-get update"; }
  dpkg-deb --extract "$work/debs/$1"_*.deb "$work/debs/$1.part"
  mv "$work/debs/$1.part" "$work/debs/$1"
}

# Kubernetes' source, where Go looks for it.
source_tree() {
  [ -d "$tree" ] && return
  local archive=kubernetes_$upstream.orig.tar.gz uri
  # The machine's own archive, which may be a mirror.
  uri=$(apt-get indextargets --format "\$(ORIGIN)|\$(CODENAME)|\$(REPO_URI)" 'Created-By: Packages' 2>/dev/null |
    awk -F'|' '$1 == "Debian" && $2 !~ /-/ { print $3; exit }')
  if ! sha256sum --check --status <<<"$upstream_sha256  $work/$archive" 2>/dev/null; then
    say "fetching $archive"
    /usr/lib/apt/apt-helper download-file "${uri:-http://deb.debian.org/debian/}pool/main/k/kubernetes/$archive" \
      "$work/$archive" "SHA256:$upstream_sha256" > "$dir/kubernetes.log" 2>&1 ||
      { tail -n 20 "$dir/kubernetes.log" >&2; fail "cannot fetch $archive" "the Debian archive must be reachable"; }
  fi
  rm -rf "$work/unpacked"
  mkdir -p "$work/unpacked" "$(dirname "$tree")"
  tar -xzf "$work/$archive" -C "$work/unpacked" --strip-components=1
  # The copy of reflect2 that it comes with reads maps as Go laid them out before 1.18: kubeadm would crash.
  package golang-github-modern-go-reflect2-dev
  rm -rf "$work/unpacked/vendor/github.com/modern-go/reflect2"
  cp -rL "$work/debs/golang-github-modern-go-reflect2-dev/usr/share/gocode/src/github.com/modern-go/reflect2" \
    "$work/unpacked/vendor/github.com/modern-go/reflect2"
  mv "$work/unpacked" "$tree"
}

# Modules would ask the network; the tree has all it needs. Without the clouds and, but where it is wanted, Docker, whose
# libraries are three quarters of the work; and a kubelet with clouds asks for the metadata of each before it starts, which
# takes its time.
tags=providerless,dockerless
go_build() {
  (cd "$tree" && env -i PATH="$goroot/bin:/usr/bin:/bin" HOME="$work" GOROOT=$goroot GOPATH="$work/go" GO111MODULE=off \
    CGO_ENABLED=0 GOCACHE="$work/cache" GOFLAGS="-trimpath -tags=$tags" go build "$@") > "$dir/kubernetes.log" 2>&1 ||
    { tail -n 20 "$dir/kubernetes.log" >&2; fail "cannot compile: go build ${*: -1}" "the whole log is $dir/kubernetes.log"; }
}

# The API server answers with its own description, a file that Kubernetes' Makefile generates.
describe() {
  local place=pkg/generated/openapi/zz_generated.openapi.go packages
  [ -s "$tree/$place" ] && return
  go_build -o "$work/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
  packages=$(cd "$tree" && grep -rl '+k8s:openapi-gen=true' --include='*.go' staging/src pkg cmd |
    grep -v -e /code-generator/ -e /sample-apiserver/ -e /sample-controller/ -e _test.go -e /testdata/ -e /zz_gen |
    xargs -n1 dirname | sort -u |
    sed -e 's|^staging/src/|k8s.io/kubernetes/vendor/|' -e 's|^pkg|k8s.io/kubernetes/pkg|' -e 's|^cmd|k8s.io/kubernetes/cmd|' |
    paste -sd,)
  (cd "$tree" && env -i PATH="$goroot/bin:/usr/bin:/bin" HOME="$work" GOROOT=$goroot GOPATH="$work/go" GO111MODULE=off \
    GOCACHE="$work/cache" "$work/openapi-gen" --logtostderr -i "$packages" -p k8s.io/kubernetes/pkg/generated/openapi \
    -O zz_generated.openapi -h hack/boilerplate/boilerplate.generatego.txt -r "$work/violations") > "$dir/kubernetes.log" 2>&1 ||
    { rm -f "$tree/$place"; tail -n 20 "$dir/kubernetes.log" >&2; fail "cannot generate the API's description" "the whole log is $dir/kubernetes.log"; }
}

# Compiles a program to SET/NAME. Of another version only linking is done anew.
compile() {
  local name=${1##*/} stamp=$version flags=() place tags=$tags minor
  case ${1%/*} in
    bin) ;;
    bin-docker) tags=providerless ;;
    *) stamp=$earlier ;;
  esac
  minor=${stamp#v1.}
  source_tree
  [ "$name" != kube-apiserver ] || describe
  say "compiling $name $stamp"
  for place in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    place=k8s.io/kubernetes/vendor/$place
    flags+=("-X $place.gitVersion=$stamp" "-X $place.gitMajor=1" "-X $place.gitMinor=${minor%%.*}" "-X $place.gitTreeState=clean")
  done
  case " ${standins[*]} " in *" $name "*) rm -rf "$tree/cmd/$name"; cp -r "scripts/kubernetes/$name" "$tree/cmd/$name" ;; esac
  go_build -o "$work/$name" -ldflags "-s -w ${flags[*]}" "./cmd/$name"
  finish "$work/$name" "$1"
  [ ! -d "scripts/kubernetes/$name" ] || source_sum "$name" > "$dir/.source-$name"
}

for file in "${missing[@]}"; do
  name=${file##*/}
  case $name in
    kubectl) package kubernetes-client; cp "$work/debs/kubernetes-client/usr/bin/kubectl" "$work/$name"; finish "$work/$name" "$file" ;;
    etcdctl) package etcd-client; cp "$work/debs/etcd-client/usr/bin/etcdctl" "$work/$name"; finish "$work/$name" "$file" ;;
    etcd) package etcd-server; cp "$work/debs/etcd-server/usr/bin/etcd" "$work/$name"; finish "$work/$name" "$file" ;;
    # Of the same source, in C.
    pause) source_tree; gcc -Os -Wall -static -DVERSION=3.2 -o "$work/$name" "$tree/build/pause/linux/pause.c"; finish "$work/$name" "$file" ;;
    *) compile "$file" ;;
  esac
done
# The source and Go's cache, 2 GB, go.
done_with
