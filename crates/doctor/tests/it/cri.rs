//! Runtimes that answer, refuse, lie and hang: Debian's containerd, and a server of HTTP/2 whose answers are written here.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use kiln_doctor::HostFacts;
use kiln_doctor::facts::gather;
use kiln_testkit::tools::tool;

const SOCKET: &str = "run/containerd/containerd.sock";

/// A containerd whose whole state is below a root.
struct Containerd(Child);

impl Containerd {
    fn start(root: &Path, disabled: &str) -> Containerd {
        let at = |path: &str| root.join(path).display().to_string();
        let conf = format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\ndisabled_plugins = [{disabled}]\n\
             [grpc]\naddress = \"{}\"\n[ttrpc]\naddress = \"{}\"\n\
             [plugins.\"io.containerd.grpc.v1.cri\"]\nrestrict_oom_score_adj = true\ndisable_tcp_service = true\n",
            at("var/lib/containerd"),
            at("state"),
            at(SOCKET),
            at("ttrpc.sock"),
        );
        fs::create_dir_all(root.join("run/containerd")).unwrap();
        fs::write(root.join("config.toml"), conf).unwrap();
        let log = fs::File::create(root.join("log")).unwrap();
        let mut command = Command::new(tool("containerd"));
        command.arg("--config").arg(root.join("config.toml")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let containerd = Containerd(command.spawn().unwrap());
        for _ in 0..600 {
            if root.join(SOCKET).exists() {
                return containerd;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("containerd does not start: {}", fs::read_to_string(root.join("log")).unwrap());
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What is known of a root; until the runtime has its services, it says that they are unknown.
fn facts(root: &Path, wanted: impl Fn(&HostFacts) -> bool) -> HostFacts {
    let mut last = gather(root, None).unwrap();
    for _ in 0..100 {
        if wanted(&last) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
        last = gather(root, None).unwrap();
    }
    last
}

#[test]
fn debians_containerd_answers() {
    let root = tempfile::tempdir().unwrap();
    let _containerd = Containerd::start(root.path(), "");
    let facts = facts(root.path(), |facts| facts.kube.cri.as_ref().is_some_and(|cri| !cri.disabled));
    let cri = facts.kube.cri.as_ref().unwrap_or_else(|| panic!("{:?}", facts.unread));
    assert_eq!((cri.socket.as_str(), cri.disabled), ("/run/containerd/containerd.sock", false));
    assert!(cri.sandboxes.is_empty() && cri.images.is_empty(), "{cri:#?}");
    assert_eq!(facts.cni.sandboxes, Some(Vec::new()), "the runtime is believed before its directories");
}

#[test]
fn a_containerd_without_the_kubelets_interface() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("etc/kubernetes")).unwrap();
    fs::write(root.path().join("etc/kubernetes/kubelet.conf"), "").unwrap();
    let _containerd = Containerd::start(root.path(), "\"io.containerd.grpc.v1.cri\"");
    let facts = facts(root.path(), |facts| facts.kube.cri.is_some());
    assert!(facts.kube.cri.as_ref().is_some_and(|cri| cri.disabled), "{:?}", facts.unread);
    let found = kiln_doctor::checks::run(&kiln_doctor::Fleet::new(vec![facts]));
    assert!(found.iter().any(|finding| finding.id == "machine.cri-disabled"), "{found:#?}");
}

/// What a server does with a call.
#[derive(Clone)]
enum Says {
    /// These bytes, and a status of gRPC.
    Bytes(Vec<u8>, &'static str),
    /// Bytes without end.
    Endless,
    /// Nothing at all.
    Nothing,
}

/// A runtime that says what a test writes, for each method by its last word.
fn runtime(root: &Path, says: impl Fn(&str) -> Says + Send + Sync + 'static) {
    let path = root.join(SOCKET);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::UnixListener::from_std(listener).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let mut held = Vec::new();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
                let head = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
                match says(&method) {
                    Says::Nothing => held.push((request, respond)),
                    Says::Endless => {
                        let mut stream = respond.send_response(head, false).unwrap();
                        tokio::spawn(async move {
                            loop {
                                stream.reserve_capacity(1 << 16);
                                let capacity = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
                                let Some(Ok(length)) = capacity else { return };
                                if stream.send_data(Bytes::from(vec![0; length]), false).is_err() {
                                    return;
                                }
                            }
                        });
                    }
                    Says::Bytes(bytes, status) => {
                        let mut stream = respond.send_response(head, false).unwrap();
                        stream.send_data(Bytes::from(bytes), false).unwrap();
                        let mut trailers = http::HeaderMap::new();
                        trailers.insert("grpc-status", status.parse().unwrap());
                        stream.send_trailers(trailers).unwrap();
                    }
                }
            }
        });
    });
}

/// A message of gRPC.
fn framed(message: &[u8]) -> Says {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    Says::Bytes([&[0][..], &length, message].concat(), "0")
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[(number << 3) | 2, u8::try_from(bytes.len()).unwrap()][..], bytes].concat()
}

#[test]
fn what_a_runtime_has() {
    let root = tempfile::tempdir().unwrap();
    runtime(root.path(), |method| {
        let metadata = [field(1, b"etcd-a"), field(2, b"uid"), field(3, b"kube-system")].concat();
        let container = [field(1, b"etcd"), vec![2 << 3, 7]].concat();
        framed(&match method {
            "ListPodSandbox" => field(1, &[field(1, b"s1"), field(2, &metadata)].concat()),
            "ListContainers" => {
                field(1, &[field(1, b"c1"), field(2, b"s1"), field(3, &container), vec![6 << 3, 2]].concat())
            }
            "ListImages" => field(1, &[field(1, b"id"), field(2, b"registry.k8s.io/etcd:3.6")].concat()),
            "ContainerStatus" => field(1, &[vec![7 << 3, 0x89, 1], field(10, b"OOMKilled")].concat()),
            other => panic!("{other}"),
        })
    });
    let facts = gather(root.path(), None).unwrap();
    let cri = facts.kube.cri.unwrap_or_else(|| panic!("{:?}", facts.unread));
    assert_eq!(facts.cni.sandboxes, Some(vec!["s1".to_owned()]));
    let newest = cri.newest("etcd").unwrap();
    assert_eq!((newest.attempt, newest.exit, newest.reason.as_str()), (7, Some(137), "OOMKilled"));
    assert!(cri.has("registry.k8s.io/etcd:3.6"));
}

#[test]
fn runtimes_that_lie_and_hang() {
    let cases = [
        (Says::Nothing, "does not answer within 3 s"),
        (Says::Endless, "more than 16 MiB"),
        (Says::Bytes(vec![0, 0xff, 0xff, 0xff, 0xff, 1], "0"), "cut off"),
        (Says::Bytes(vec![1, 0, 0, 0, 1, 1], "0"), "not gRPC"),
        (Says::Bytes(Vec::new(), "7"), "gRPC status 7"),
    ];
    for (says, why) in cases {
        let root = tempfile::tempdir().unwrap();
        runtime(root.path(), move |_| says.clone());
        let facts = gather(root.path(), None).unwrap();
        assert_eq!(facts.kube.cri, None);
        assert!(
            facts.unread.iter().any(|u| u.what.ends_with("containerd.sock") && u.why.contains(why)),
            "{why}: {:?}",
            facts.unread
        );
    }
    // Garbage inside of a message is a message without those fields.
    let root = tempfile::tempdir().unwrap();
    runtime(root.path(), |_| framed(&[0xff; 200]));
    assert_eq!(gather(root.path(), None).unwrap().kube.cri.map(|cri| cri.sandboxes.len()), Some(0));
}

#[test]
fn a_socket_that_speaks_no_http_and_one_that_nobody_serves() {
    for (answers, said) in [(true, true), (false, false)] {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("run/containerd")).unwrap();
        let listener = std::os::unix::net::UnixListener::bind(root.path().join(SOCKET)).unwrap();
        if answers {
            std::thread::spawn(move || {
                use std::io::Write;
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            });
        } else {
            drop(listener);
        }
        let facts = gather(root.path(), None).unwrap();
        assert_eq!(facts.kube.cri, None);
        assert_eq!(facts.unread.iter().any(|u| u.what.ends_with("containerd.sock")), said, "{:?}", facts.unread);
    }
}
