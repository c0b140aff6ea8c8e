//! The container runtime, asked over the kubelet's own interface: CRI, which is gRPC over a UNIX socket.
//! Messages: kubernetes/cri-api, `runtime/v1/api.proto`; of each only the fields that are wanted are read.
//!
//! A runtime may hang or lie: everything together has three seconds, answers and lists have limits. Where there is no
//! runtime, its directories are looked at instead ([`super::cni`]).

use std::os::fd::AsRawFd;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use kiln_oci::Reference;
use serde::{Deserialize, Serialize};

use super::Unread;
use super::root::Root;

/// Where runtimes listen.
const SOCKETS: [&str; 4] = [
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/cri-dockerd.sock",
    "/run/k3s/containerd/containerd.sock",
];
/// How long all questions together may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// The most bytes of one answer, and entries of one list.
const ANSWER: usize = 16 << 20;
const ENTRIES: usize = 10_000;
/// Containers that ended of which the reason is asked.
const REASONS: usize = 50;
/// The status of gRPC for a method that nobody has.
const UNIMPLEMENTED: &str = "12";

/// What a runtime says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cri {
    /// Where it listens.
    pub socket: String,
    /// Whether it answers, and does not know the kubelet's interface.
    pub disabled: bool,
    /// The sandboxes of pods.
    pub sandboxes: Vec<Sandbox>,
    /// Their containers.
    pub containers: Vec<Container>,
    /// Names and digests of the images that it has.
    pub images: Vec<String>,
}

/// A pod, as a runtime knows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Its identifier.
    pub id: String,
    /// The pod's name.
    pub name: String,
    /// The pod's namespace.
    pub namespace: String,
    /// Whether it runs.
    pub ready: bool,
}

/// A container of a pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Container {
    /// Its identifier.
    pub id: String,
    /// Its sandbox's.
    pub sandbox: String,
    /// Its name in the pod.
    pub name: String,
    /// Whether it runs, has ended, or neither.
    pub state: State,
    /// How often it was started before.
    pub attempt: u64,
    /// The status it ended with; known of some.
    pub exit: Option<i32>,
    /// `OOMKilled`, `Error`, …
    pub reason: String,
}

/// What a container does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It was made, and never started.
    Created,
    /// It runs.
    Running,
    /// It ended.
    Exited,
    /// The runtime does not know.
    #[default]
    Unknown,
}

impl Cri {
    /// The newest container of a static pod, by the pod's name without the host's.
    pub fn newest(&self, pod: &str) -> Option<&Container> {
        let of = |container: &&Container| {
            let sandbox = self.sandboxes.iter().find(|sandbox| sandbox.id == container.sandbox);
            sandbox.is_some_and(|s| s.namespace == "kube-system" && s.name.starts_with(pod)) && container.name == pod
        };
        self.containers.iter().filter(of).max_by_key(|container| container.attempt)
    }

    /// Whether the runtime has an image, by how a pod names it. Both are read as runtimes read them: Docker's runtime
    /// shortens names when it lists them, others write them out.
    pub fn has(&self, image: &str) -> bool {
        match meant(image) {
            Some(wanted) => self.images.iter().any(|name| meant(name).as_ref() == Some(&wanted)),
            None => self.images.iter().any(|name| name == image),
        }
    }
}

/// The image that a name means: with Docker Hub and `latest` where nothing is written, and by its digest alone where that
/// is.
fn meant(name: &str) -> Option<Reference> {
    let whole: Reference = name.parse().ok()?;
    let tag = whole.tag_or_latest().filter(|_| whole.digest.is_none()).map(str::to_owned);
    Some(Reference { tag, ..whole })
}

/// Why a runtime was not asked to the end.
#[derive(Debug)]
enum Failed {
    /// Nobody listens.
    Absent,
    /// It does not know the method.
    Unknown,
    /// Something else.
    Said(String),
}

/// Asks the runtime of a host: the one the kubelet is told of, or the first that is there.
pub(super) fn ask(root: &Root, endpoint: Option<&str>, unread: &mut Vec<Unread>) -> Option<Cri> {
    let told = endpoint.map(|endpoint| endpoint.strip_prefix("unix://").unwrap_or(endpoint));
    let path = told.into_iter().chain(SOCKETS).find(|path| root.socket(path).is_some())?;
    let mut fail = |why: String| {
        unread.push(Unread { what: path.to_owned(), why });
        None
    };
    let socket = root.socket(path)?;
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(error.to_string()),
    };
    // Connecting by the handle that was opened inside of the root leads nowhere else.
    let place = format!("/proc/self/fd/{}", socket.as_raw_fd());
    let asked = runtime.block_on(async { tokio::time::timeout(PATIENCE, all(&place)).await });
    runtime.shutdown_background();
    match asked {
        Ok(Ok(cri)) => Some(Cri { socket: path.to_owned(), ..cri }),
        Ok(Err(Failed::Absent)) => None,
        Ok(Err(Failed::Unknown)) => Some(Cri { socket: path.to_owned(), disabled: true, ..Cri::default() }),
        Ok(Err(Failed::Said(why))) => fail(why),
        Err(_) => fail(format!("does not answer within {} s", PATIENCE.as_secs())),
    }
}

async fn all(place: &str) -> Result<Cri, Failed> {
    let stream = tokio::net::UnixStream::connect(place).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => Failed::Absent,
        _ => Failed::Said(error.to_string()),
    })?;
    let mut builder = h2::client::Builder::new();
    builder.max_header_list_size(64 << 10).initial_window_size(1 << 20).initial_connection_window_size(4 << 20);
    let (client, connection) =
        builder.handshake::<_, Bytes>(stream).await.map_err(|error| Failed::Said(error.to_string()))?;
    tokio::spawn(async move {
        // How it ends is seen by who waits for an answer.
        let _ = connection.await;
    });
    // Before containerd 1.6 and CRI-O 1.20 the interface had another version, with the same numbers.
    let (version, sandboxes) = match call(&client, "/runtime.v1.RuntimeService/ListPodSandbox", &[]).await {
        Err(Failed::Unknown) => {
            ("v1alpha2", call(&client, "/runtime.v1alpha2.RuntimeService/ListPodSandbox", &[]).await?)
        }
        answer => ("v1", answer?),
    };
    let containers = call(&client, &format!("/runtime.{version}.RuntimeService/ListContainers"), &[]).await?;
    let images = call(&client, &format!("/runtime.{version}.ImageService/ListImages"), &[]).await?;
    let mut cri = Cri {
        sandboxes: messages(&sandboxes, 1).take(ENTRIES).map(sandbox).collect(),
        containers: messages(&containers, 1).take(ENTRIES).map(container).collect(),
        images: messages(&images, 1).take(ENTRIES).flat_map(names).collect(),
        ..Cri::default()
    };
    let ended = cri.containers.iter_mut().filter(|container| container.state == State::Exited);
    for container in ended.take(REASONS) {
        let mut ask = vec![10];
        varint(&mut ask, container.id.len() as u64);
        ask.extend(container.id.as_bytes());
        let method = format!("/runtime.{version}.RuntimeService/ContainerStatus");
        // It may be gone meanwhile.
        if let Ok(answer) = call(&client, &method, &ask).await {
            (container.exit, container.reason) = status(&answer);
        }
    }
    Ok(cri)
}

/// One call of gRPC: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.
async fn call(client: &SendRequest<Bytes>, method: &str, message: &[u8]) -> Result<Vec<u8>, Failed> {
    let failed = |error: h2::Error| Failed::Said(error.to_string());
    let request = http::Request::builder()
        .method("POST")
        .uri(format!("http://localhost{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .map_err(|error| Failed::Said(error.to_string()))?;
    let mut client = client.clone().ready().await.map_err(failed)?;
    let (response, mut stream) = client.send_request(request, false).map_err(failed)?;
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend(message);
    stream.send_data(Bytes::from(frame), true).map_err(failed)?;
    let (head, mut body) = response.await.map_err(failed)?.into_parts();
    let mut out = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(failed)?;
        if out.len() + chunk.len() > ANSWER {
            return Err(Failed::Said(format!("an answer has more than {} MiB", ANSWER >> 20)));
        }
        body.flow_control().release_capacity(chunk.len()).map_err(failed)?;
        out.extend_from_slice(&chunk);
    }
    let trailers = body.trailers().await.map_err(failed)?.unwrap_or_default();
    // An answer without a body has its end in its head.
    let of = |name: &str| trailers.get(name).or_else(|| head.headers.get(name)).and_then(|value| value.to_str().ok());
    match of("grpc-status") {
        Some("0") => {}
        Some(UNIMPLEMENTED) => return Err(Failed::Unknown),
        Some(code) => {
            return Err(Failed::Said(format!("gRPC status {code}: {}", of("grpc-message").unwrap_or_default())));
        }
        None => return Err(Failed::Said("its answer is not gRPC".to_owned())),
    }
    match out.get(..5) {
        Some([0, a, b, c, d]) => {
            let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            let message = out.get(5..5 + length);
            message.map(<[u8]>::to_vec).ok_or_else(|| Failed::Said("its answer is cut off".to_owned()))
        }
        _ => Err(Failed::Said("its answer is not gRPC".to_owned())),
    }
}

/// A field of a message of protobuf.
#[derive(Debug, PartialEq)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, up to the first that is none.
fn fields(bytes: &[u8]) -> impl Iterator<Item = (u64, Field<'_>)> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let key = number(&mut rest)?;
        let field = match key & 7 {
            0 => Field::Number(number(&mut rest)?),
            wire @ (1 | 5) => {
                let (value, after) = rest.split_at_checked(if wire == 1 { 8 } else { 4 })?;
                rest = after;
                Field::Bytes(value)
            }
            2 => {
                let length = usize::try_from(number(&mut rest)?).ok()?;
                let (value, after) = rest.split_at_checked(length)?;
                rest = after;
                Field::Bytes(value)
            }
            _ => return None,
        };
        Some((key >> 3, field))
    })
}

/// Seven bits in each byte, the lowest first.
fn number(rest: &mut &[u8]) -> Option<u64> {
    let mut out = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        out |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(out);
        }
    }
    None
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or(0));
}

/// The messages in a repeated field.
fn messages(bytes: &[u8], wanted: u64) -> impl Iterator<Item = &[u8]> {
    fields(bytes).filter_map(move |(number, field)| match field {
        Field::Bytes(bytes) if number == wanted => Some(bytes),
        _ => None,
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(500).collect()
}

/// `PodSandbox`: 1 id, 2 metadata (1 name, 3 namespace), 3 state (0 ready).
fn sandbox(bytes: &[u8]) -> Sandbox {
    let mut out = Sandbox { ready: true, ..Sandbox::default() };
    for (number, field) in fields(bytes) {
        match (number, field) {
            (1, Field::Bytes(id)) => out.id = text(id),
            (2, Field::Bytes(metadata)) => {
                out.name = messages(metadata, 1).next().map(text).unwrap_or_default();
                out.namespace = messages(metadata, 3).next().map(text).unwrap_or_default();
            }
            (3, Field::Number(state)) => out.ready = state == 0,
            _ => {}
        }
    }
    out
}

/// `Container`: 1 id, 2 sandbox, 3 metadata (1 name, 2 attempt), 6 state (0 created, 1 running, 2 exited).
fn container(bytes: &[u8]) -> Container {
    // What is 0 is not written.
    let mut out = Container { state: State::Created, ..Container::default() };
    for (number, field) in fields(bytes) {
        match (number, field) {
            (1, Field::Bytes(id)) => out.id = text(id),
            (2, Field::Bytes(id)) => out.sandbox = text(id),
            (3, Field::Bytes(metadata)) => {
                out.name = messages(metadata, 1).next().map(text).unwrap_or_default();
                let attempt = fields(metadata).find_map(|(number, field)| match field {
                    Field::Number(attempt) if number == 2 => Some(attempt),
                    _ => None,
                });
                out.attempt = attempt.unwrap_or(0);
            }
            (6, Field::Number(state)) => {
                out.state = match state {
                    0 => State::Created,
                    1 => State::Running,
                    2 => State::Exited,
                    _ => State::Unknown,
                }
            }
            _ => {}
        }
    }
    out
}

/// `Image`: 1 id, 2 tags, 3 digests.
fn names(bytes: &[u8]) -> impl Iterator<Item = String> {
    messages(bytes, 2).chain(messages(bytes, 3)).take(50).map(text)
}

/// `ContainerStatusResponse`: 1 status (7 exit code, 10 reason).
fn status(bytes: &[u8]) -> (Option<i32>, String) {
    let mut out = (Some(0), String::new());
    for (number, field) in messages(bytes, 1).next().into_iter().flat_map(fields) {
        match (number, field) {
            // Numbers below zero have all of their 64 bits.
            (7, Field::Number(code)) => out.0 = i32::try_from(code.cast_signed()).ok(),
            (10, Field::Bytes(reason)) => out.1 = text(reason),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![(number << 3) | 2];
        varint(&mut out, bytes.len() as u64);
        out.extend(bytes);
        out
    }

    #[test]
    fn messages_of_the_interface() {
        let metadata = [field(1, b"etcd-a"), field(2, b"uid"), field(3, b"kube-system")].concat();
        let bytes = [field(1, b"s1"), field(2, &metadata), vec![3 << 3, 1]].concat();
        let found = sandbox(&bytes);
        assert_eq!((found.id.as_str(), found.name.as_str(), found.namespace.as_str()), ("s1", "etcd-a", "kube-system"));
        assert!(!found.ready);
        let metadata = [field(1, b"etcd"), vec![2 << 3, 7]].concat();
        let bytes = [field(1, b"c1"), field(2, b"s1"), field(3, &metadata), vec![6 << 3, 2]].concat();
        let ended = container(&bytes);
        assert_eq!((ended.state, ended.attempt, ended.name.as_str()), (State::Exited, 7, "etcd"));
        let answer = field(1, &[vec![7 << 3, 0x89, 1], field(10, b"OOMKilled")].concat());
        assert_eq!(status(&answer), (Some(137), "OOMKilled".to_owned()));
        let cri = Cri { sandboxes: vec![found], containers: vec![ended], ..Cri::default() };
        assert_eq!(cri.newest("etcd").map(|container| container.attempt), Some(7));
        assert_eq!(cri.newest("kube-apiserver"), None);
    }

    #[test]
    fn numbers_of_all_lengths() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            varint(&mut bytes, value);
            assert_eq!(number(&mut bytes.as_slice()), Some(value));
            bytes.pop();
            assert_eq!(number(&mut bytes.as_slice()), None);
        }
    }

    #[test]
    fn names_of_images() {
        let images = ["docker.io/library/busybox:latest", "registry.k8s.io/pause:3.9"].map(str::to_owned).to_vec();
        let cri = Cri { images, ..Cri::default() };
        assert!(cri.has("busybox") && cri.has("busybox:latest") && cri.has("registry.k8s.io/pause:3.9"));
        assert!(!cri.has("registry.k8s.io/pause:3.10") && !cri.has("x"));
        let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
        let images = [
            format!("docker.io/calico/node@{digest}"),
            "registry.local:5000/etcd:latest".to_owned(),
            "localhost/own:1".to_owned(),
            // As Docker's own runtime lists them.
            "nginx:1.27".to_owned(),
            "<none>:<none>".to_owned(),
        ];
        let cri = Cri { images: images.to_vec(), ..Cri::default() };
        for name in [
            &*format!("calico/node:v3@{digest}"),
            &format!("docker.io/calico/node@{digest}"),
            "registry.local:5000/etcd",
            "localhost/own:1",
            "docker.io/library/nginx:1.27",
            "index.docker.io/nginx:1.27",
            "<none>:<none>",
        ] {
            assert!(cri.has(name), "{name}");
        }
        let other = digest.replace('0', "1");
        for name in
            [&*format!("calico/node@{other}"), "calico/node:v3", "etcd", "own:1", "nginx", "localhost:5000/etcd", ""]
        {
            assert!(!cri.has(name), "{name}");
        }
    }

    #[test]
    fn garbage_has_an_end() {
        for bad in [&[0xff; 40][..], &[10, 0xff, 0xff, 0xff, 0xff, 0x0f, 1], &[11], &[9, 1], &[], &[8; 1]] {
            let _ = (sandbox(bad), container(bad), names(bad).count(), status(bad), fields(bad).count());
        }
    }
}
