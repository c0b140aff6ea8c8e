#!/bin/bash
# Installs what tests need and Debian does not have, in pinned versions, into $KILN_EMULATORS or the user's cache: the
# object stores that crates/objects is tested against, the validators of the documents that crates/sbom writes, and the
# Helm that crates/helm is compared with.
# Safe to run again; quick when they are there.
set -euo pipefail

moto=5.2.5                     # S3, ECR, IAM and STS, from PyPI
gcp_storage_emulator=2026.7.19 # Google Cloud Storage, from PyPI
azurite=3.35.0                 # Azure Blob Storage, from npm
s3rver=3.7.1                   # S3, a second opinion, from npm
spdx_tools=0.8.5               # the SPDX project's validator, from PyPI
cyclonedx=11.12.0              # CycloneDX' schemas and a strict reader of them, from PyPI
helm=0.2.2                     # helm-python-sdk: Helm 4.2.3 as a library, from PyPI

dir=${KILN_EMULATORS:-${XDG_CACHE_HOME:-$HOME/.cache}/kiln-test}

fail() { printf 'emulators: error: %s\n' "$1" >&2; printf 'hint: %s\n' "$2" >&2; exit 3; }

# Whether $1 holds what was wanted when it was finished.
there() { [ "$(cat "$1/.versions" 2>/dev/null)" = "$2" ]; }

# Makes $1 anew by the command that follows, and marks it as $2 when that has ended well.
make() {
  local place=$1 versions=$2
  shift 2
  echo "emulators: installing $versions into $place" >&2
  rm -rf "$place"
  mkdir -p "$place"
  "$@" >"$dir/install.log" 2>&1 ||
    { tail -n 20 "$dir/install.log" >&2; fail "cannot install $versions" "PyPI and npm must be reachable; the whole log is $dir/install.log"; }
  printf '%s\n' "$versions" > "$place/.versions"
}

# Debian's Python: others may have no venv, or go away.
python() {
  /usr/bin/python3 -m venv "$dir/python"
  "$dir/python/bin/pip" install --quiet --disable-pip-version-check "moto[server,s3]==$moto" "gcp-storage-emulator==$gcp_storage_emulator"
}

node() {
  npm install --prefix "$dir/node" --no-audit --no-fund --no-update-notifier --ignore-scripts --omit=dev \
    "azurite@$azurite" "s3rver@$s3rver"
}

# Apart from the stores: their dependencies disagree.
validators() {
  /usr/bin/python3 -m venv "$dir/validators"
  "$dir/validators/bin/pip" install --quiet --disable-pip-version-check "spdx-tools==$spdx_tools" \
    "cyclonedx-python-lib[json-validation]==$cyclonedx"
}

# The library comes three times, 85 MB each: links will do.
helm() {
  /usr/bin/python3 -m venv "$dir/helm"
  "$dir/helm/bin/pip" install --quiet --disable-pip-version-check --no-compile "helm-python-sdk==$helm"
  local lib
  lib=$(echo "$dir"/helm/lib/python3*/site-packages/helm_python/lib)
  ln -f "$lib/libhelm_c.so" "$lib/libhelm_c.so.0"
  ln -f "$lib/libhelm_c.so" "$lib/libhelm_c.so.$helm"
}

mkdir -p "$dir"
# Two at once would install into each other's directory.
exec 9> "$dir/.lock"
flock 9

wanted="moto $moto, gcp-storage-emulator $gcp_storage_emulator"
there "$dir/python" "$wanted" || make "$dir/python" "$wanted" python
wanted="azurite $azurite, s3rver $s3rver"
there "$dir/node" "$wanted" || make "$dir/node" "$wanted" node
wanted="spdx-tools $spdx_tools, cyclonedx-python-lib $cyclonedx"
there "$dir/validators" "$wanted" || make "$dir/validators" "$wanted" validators
wanted="helm-python-sdk $helm"
there "$dir/helm" "$wanted" || make "$dir/helm" "$wanted" helm

for program in python/bin/moto_server python/bin/gcp-storage-emulator validators/bin/pyspdxtools helm/bin/python node/node_modules/.bin/{azurite-blob,s3rver}; do
  [ -x "$dir/$program" ] || fail "$dir/$program is not there" "remove $dir and run this again"
done
echo "emulators: everything is there ($dir)" >&2
