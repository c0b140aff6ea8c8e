#!/bin/bash
# Blobs and manifests of `kiln registry serve` beside the same file of nginx-light, on loopback, in one run: wall seconds
# and CPU seconds of the servers. Times of one machine mean little; ratios within one run do.
#   scripts/registry-bench.sh target/x86_64-unknown-linux-gnu/release/kiln [ROUNDS]
set -euo pipefail
kiln=${1:?the kiln binary}
rounds=${2:-7}
command -v nginx >/dev/null || PATH=$PATH:/usr/sbin
command -v nginx >/dev/null || { echo "nginx is missing: apt-get install nginx-light" >&2; exit 3; }
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$dir"' EXIT

openssl rand 1073741824 >"$dir/blob"
digest=sha256:$(sha256sum "$dir/blob" | cut -d' ' -f1)
"$kiln" --store "$dir/store" registry serve --addr 127.0.0.1:5801 --no-access-log 2>"$dir/log" &
server=$!
mkdir -p "$dir/www" && ln "$dir/blob" "$dir/www/blob"
cat >"$dir/nginx.conf" <<CONF
daemon off; worker_processes auto; pid $dir/pid; error_log $dir/error.log; user root;
events { worker_connections 1024; }
http { access_log off; sendfile on; tcp_nopush on; client_body_temp_path $dir/t; proxy_temp_path $dir/t; fastcgi_temp_path $dir/t;
uwsgi_temp_path $dir/t; scgi_temp_path $dir/t; server { listen 127.0.0.1:5802; root $dir/www; } }
CONF
nginx -c "$dir/nginx.conf" -p "$dir" &
nginx=$!
for port in 5801 5802; do
    for _ in $(seq 100); do (echo >"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break; sleep 0.1; done
done

base=http://127.0.0.1:5801/v2/bench
curl -sSf -X POST -T "$dir/blob" -o /dev/null "$base/blobs/uploads?digest=$digest"
config='{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
hash=sha256:$(printf %s "$config" | sha256sum | cut -d' ' -f1)
curl -sSf -X POST --data-binary "$config" -o /dev/null "$base/blobs/uploads?digest=$hash"
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":%d},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"%s","size":1073741824}]}' \
    "$hash" "${#config}" "$digest" >"$dir/manifest"
curl -sSf -X PUT -H 'Content-Type: application/vnd.oci.image.manifest.v1+json' --data-binary "@$dir/manifest" -o /dev/null "$base/manifests/1"

# Ticks of a process and its children that run.
ticks() { local sum=0 p; for p in "$1" $(pgrep -P "$1" || true); do sum=$((sum + $(awk '{print $14 + $15}' "/proc/$p/stat"))); done; echo "$sum"; }
get() { # NAME PID URL
    local before after t
    before=$(ticks "$2")
    t=$(curl -sSf -o /dev/null -w '%{time_total}' "$3")
    after=$(ticks "$2")
    echo "$1 $t $(((after - before) * 10))"
}
get warm "$server" "$base/blobs/$digest" >/dev/null
get warm "$nginx" http://127.0.0.1:5802/blob >/dev/null
for _ in $(seq "$rounds"); do
    get kiln "$server" "$base/blobs/$digest"
    get nginx "$nginx" http://127.0.0.1:5802/blob
done >"$dir/times"
median() { awk -v n="$1" -v f="$2" '$1 == n {print $f}' "$dir/times" | sort -g | awk '{a[NR] = $1} END {print a[int((NR + 1) / 2)]}'; }
echo "1 GiB, medians of $rounds: seconds and the server's CPU milliseconds"
for name in kiln nginx; do echo "  $name $(median $name 2) s, $(median $name 3) ms"; done
echo "  speed of kiln / nginx: $(awk "BEGIN {print $(median nginx 2) / $(median kiln 2)}"), CPU of kiln / nginx: $(awk "BEGIN {print $(median kiln 3) / $(median nginx 3)}")"

command -v ab >/dev/null || { echo "ab is missing: apt-get install apache2-utils" >&2; exit 3; }
before=$(ticks "$server")
ab -q -k -n 40000 -c 16 "$base/manifests/1" >"$dir/ab"
after=$(ticks "$server")
echo "40,000 manifests: $(awk '/Requests per second/ {print $4}' "$dir/ab") a second, $(awk "BEGIN {print 40000 / (($after - $before) / 100)}") per CPU second of the server"
grep -E 'Failed requests|Non-2xx' "$dir/ab" || true
awk '/VmHWM/ {print "peak memory of kiln: " $2 / 1024 " MiB"}' "/proc/$server/status"
