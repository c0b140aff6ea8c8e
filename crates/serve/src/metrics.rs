//! Numbers for Prometheus, in its text format (version 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::library::locked;

/// Upper bounds of the histogram of times, in seconds.
const BOUNDS: [f64; 8] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0];

/// How many within each bound, their sum in microseconds, and how many.
type Times = ([u64; BOUNDS.len()], u64, u64);

/// Counters of one server.
#[derive(Debug, Default)]
pub struct Metrics {
    /// By route, method and status.
    requests: Mutex<BTreeMap<(&'static str, &'static str, u16), u64>>,
    /// By route.
    times: Mutex<BTreeMap<&'static str, Times>>,
    /// Connections that are open.
    pub connections: AtomicI64,
    /// Connections that were closed at once, for their address had too many.
    pub refused: AtomicU64,
    /// Bytes of blobs and manifests that were sent.
    pub sent: AtomicU64,
    /// Bytes that were received in bodies.
    pub received: AtomicU64,
    /// Manifests and blobs of other registries that were here.
    pub cache_hits: AtomicU64,
    /// Those that had to be fetched.
    pub cache_misses: AtomicU64,
    /// Requests to other registries that failed.
    pub upstream_errors: AtomicU64,
}

/// The method, if it is one that registries know.
fn method_label(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "PUT" => "PUT",
        "POST" => "POST",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

impl Metrics {
    /// Counts one request.
    pub fn count(&self, route: &'static str, method: &http::Method, status: u16, took: Duration) {
        *locked(&self.requests).entry((route, method_label(method), status)).or_default() += 1;
        let mut times = locked(&self.times);
        let (buckets, sum, count) = times.entry(route).or_default();
        for (bucket, bound) in buckets.iter_mut().zip(BOUNDS) {
            *bucket += u64::from(took.as_secs_f64() <= bound);
        }
        *sum += u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        *count += 1;
    }

    /// All of it, and the number of uploads in progress.
    pub fn render(&self, uploads: usize) -> String {
        let mut out = String::new();
        let head = |out: &mut String, name: &str, kind: &str, help: &str| {
            let _ = writeln!(out, "# HELP kiln_registry_{name} {help}\n# TYPE kiln_registry_{name} {kind}");
        };
        head(&mut out, "requests_total", "counter", "Requests answered.");
        for ((route, method, status), count) in locked(&self.requests).iter() {
            let _ = writeln!(
                out,
                "kiln_registry_requests_total{{route=\"{route}\",method=\"{method}\",code=\"{status}\"}} {count}"
            );
        }
        head(&mut out, "request_seconds", "histogram", "Time until the answer begins.");
        for (route, (buckets, sum, count)) in locked(&self.times).iter() {
            for (bucket, bound) in buckets.iter().zip(BOUNDS) {
                let _ =
                    writeln!(out, "kiln_registry_request_seconds_bucket{{route=\"{route}\",le=\"{bound}\"}} {bucket}");
            }
            let _ = writeln!(out, "kiln_registry_request_seconds_bucket{{route=\"{route}\",le=\"+Inf\"}} {count}");
            let seconds = Duration::from_micros(*sum).as_secs_f64();
            let _ = writeln!(out, "kiln_registry_request_seconds_sum{{route=\"{route}\"}} {seconds}");
            let _ = writeln!(out, "kiln_registry_request_seconds_count{{route=\"{route}\"}} {count}");
        }
        let open = self.connections.load(Ordering::Relaxed).max(0).unsigned_abs();
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for (name, kind, help, value) in [
            ("connections", "gauge", "Connections that are open.", open),
            ("connections_refused_total", "counter", "Connections of addresses that had too many.", get(&self.refused)),
            ("uploads", "gauge", "Uploads in progress.", uploads as u64),
            ("sent_bytes_total", "counter", "Bytes of answers' bodies.", get(&self.sent)),
            ("received_bytes_total", "counter", "Bytes of requests' bodies.", get(&self.received)),
            ("cache_hits_total", "counter", "Content of other registries that was here.", get(&self.cache_hits)),
            ("cache_misses_total", "counter", "Content of other registries that was fetched.", get(&self.cache_misses)),
            (
                "upstream_errors_total",
                "counter",
                "Requests to other registries that failed.",
                get(&self.upstream_errors),
            ),
        ] {
            head(&mut out, name, kind, help);
            let _ = writeln!(out, "kiln_registry_{name} {value}");
        }
        out
    }
}
