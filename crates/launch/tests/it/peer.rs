//! One agent, and who speaks with it: launchers, peers, and strangers.

use std::io::{BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use kiln_launch::agent::peer::identity::{Authority, Identity};
use kiln_launch::agent::peer::take_part;
use kiln_launch::agent::peer::words::{Fault, Fetch, Hello, Kind, Order, Said, VERSION, line};
use kiln_oci::Digest;
use kiln_store::Store;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The standard input of an agent.
struct Input(Receiver<Vec<u8>>, Vec<u8>);

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.1.is_empty() {
            self.1 = self.0.recv().unwrap_or_default();
        }
        let count = into.len().min(self.1.len());
        into[..count].copy_from_slice(&self.1[..count]);
        self.1.drain(..count);
        Ok(count)
    }
}

struct Output(Sender<Said>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = self.0.send(serde_json::from_slice(bytes)?);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Agent {
    dir: tempfile::TempDir,
    orders: Option<Sender<Vec<u8>>>,
    said: std::sync::Mutex<Receiver<Said>>,
    address: SocketAddr,
    thread: Option<JoinHandle<kiln_launch::Result<()>>>,
}

fn hello(authority: &Authority, name: &str, blobs: &[(Digest, u64)], silence: u64) -> Hello {
    let made = authority.certificate(name).unwrap();
    Hello {
        version: VERSION,
        address: HERE,
        port: 0,
        certificate: made.certificate,
        key: made.key,
        authority: authority.pem(),
        blobs: blobs.to_vec(),
        binary: Digest::of(b"the binary").hex(),
        uploads: 2,
        rate: None,
        silence,
    }
}

impl Agent {
    fn start(hello: Hello, fill: impl FnOnce(&Store)) -> Agent {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        fill(&store);
        std::fs::write(dir.path().join("kiln"), b"the binary").unwrap();
        let (orders, input) = channel();
        let (output, said) = channel();
        orders.send(line(&Order::Hello(Box::new(hello)))).unwrap();
        let binary = dir.path().join("kiln");
        let input = Box::new(BufReader::new(Input(input, Vec::new())));
        let thread = std::thread::spawn(move || take_part(&store, &binary, input, &mut Output(output)));
        let said = std::sync::Mutex::new(said);
        let mut agent = Agent { dir, orders: Some(orders), said, address: (HERE, 0).into(), thread: Some(thread) };
        let Said::Ready { port, .. } = agent.hear() else { panic!("it is not ready") };
        agent.address = SocketAddr::new(HERE, port.unwrap());
        agent
    }

    fn hear(&self) -> Said {
        self.said.lock().unwrap().recv_timeout(Duration::from_secs(20)).unwrap()
    }

    fn fetch(&self, from: SocketAddr, name: &str, blobs: &[usize]) -> Option<Fault> {
        let fetch = Fetch { order: 1, from, name: name.into(), blobs: blobs.to_vec(), floor: 1, patience: 9000 };
        self.orders.as_ref().unwrap().send(line(&Order::Fetch(fetch))).unwrap();
        loop {
            if let Said::Ended { fault, .. } = self.hear() {
                return fault;
            }
        }
    }

    fn store(&self) -> Store {
        Store::open(self.dir.path().join("store")).unwrap()
    }

    /// Its end, without another word.
    fn join(&mut self) {
        self.thread.take().unwrap().join().unwrap().unwrap();
        assert!(TcpStream::connect(self.address).is_err(), "nobody listens any more");
    }
}

fn blobs() -> Vec<Vec<u8>> {
    vec![b"a small one".to_vec(), (0..3_000_000_u32).flat_map(|n| n.to_le_bytes()).collect(), Vec::new()]
}

fn list(blobs: &[Vec<u8>]) -> Vec<(Digest, u64)> {
    blobs.iter().map(|bytes| (Digest::of(bytes), bytes.len() as u64)).collect()
}

/// One that has nothing yet.
fn empty(authority: &Authority, name: &str) -> Agent {
    Agent::start(hello(authority, name, &list(&blobs()), 60_000), |_| {})
}

fn full(authority: &Authority, name: &str) -> Agent {
    let blobs = blobs();
    Agent::start(hello(authority, name, &list(&blobs), 60_000), |store| {
        blobs.iter().for_each(|bytes| drop(store.put(bytes).unwrap()));
        // It is there, and of something else.
        store.put(b"a secret of another image").unwrap();
    })
}

/// What a client with this configuration gets when it says something.
fn ask(config: &Arc<ClientConfig>, to: SocketAddr, name: &str, says: &str) -> std::io::Result<String> {
    let socket = TcpStream::connect(to)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut stream = StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), socket);
    stream.write_all(says.as_bytes())?;
    let mut answer = vec![0; 300];
    let count = stream.read(&mut answer)?;
    answer.truncate(count);
    Ok(String::from_utf8(answer).unwrap())
}

fn identity(authority: &Authority, name: &str) -> Identity {
    let made = authority.certificate(name).unwrap();
    Identity::of(&made.certificate, &made.key, &authority.pem()).unwrap()
}

#[test]
fn blobs_come_and_half_of_one_is_gone_on_with() {
    let authority = Authority::new().unwrap();
    let (one, blobs) = (full(&authority, "h0.kiln"), blobs());
    let two = Agent::start(hello(&authority, "h1.kiln", &list(&blobs), 60_000), |store| {
        let (digest, size) = list(&blobs)[1].clone();
        let mut half = store.download(&digest, size, &|| false).unwrap().unwrap();
        half.write_all(&blobs[1][..10_000_000]).unwrap();
    });
    assert_eq!(two.fetch(one.address, "h0.kiln", &[0, 1, 2]), None);
    for (bytes, (digest, size)) in blobs.iter().zip(list(&blobs)) {
        assert_eq!(two.store().read_blob(&digest, size).unwrap(), *bytes);
    }
    let mut moved = None;
    while moved.is_none_or(|moved| moved < 2_000_011) {
        if let Said::Moved { fetched } = two.hear() {
            moved = Some(fetched);
        }
    }
    assert_eq!(moved, Some(2_000_011), "only the rest came");
}

#[test]
fn what_is_still_coming_is_passed_on() {
    let authority = Authority::new().unwrap();
    let blobs = blobs();
    let (digest, size) = list(&blobs)[1].clone();
    let one = empty(&authority, "h0.kiln");
    let two = empty(&authority, "h1.kiln");
    let store = one.store();
    let mut coming = store.download(&digest, size, &|| false).unwrap().unwrap();
    std::thread::scope(|scope| {
        let fetched = scope.spawn(|| two.fetch(one.address, "h0.kiln", &[1]));
        // Half of it is there before the other half has come.
        coming.write_all(&blobs[1][..6_000_000]).unwrap();
        crate::double::wait("half of it", || two.store().downloaded(&digest) >= 5_900_000);
        coming.write_all(&blobs[1][6_000_000..]).unwrap();
        coming.commit_hashed(digest.clone()).unwrap();
        assert_eq!(fetched.join().unwrap(), None);
    });
    assert_eq!(two.store().read_blob(&digest, size).unwrap(), blobs[1]);
}

#[test]
fn what_was_coming_and_was_wrong_is_not_kept() {
    let authority = Authority::new().unwrap();
    let blobs = blobs();
    let (digest, size) = list(&blobs)[1].clone();
    let one = empty(&authority, "h0.kiln");
    let two = empty(&authority, "h1.kiln");
    let store = one.store();
    let mut coming = store.download(&digest, size, &|| false).unwrap().unwrap();
    std::thread::scope(|scope| {
        let fetched = scope.spawn(|| two.fetch(one.address, "h0.kiln", &[1]));
        coming.write_all(&vec![9; 6_000_000]).unwrap();
        crate::double::wait("half of it", || two.store().downloaded(&digest) >= 5_900_000);
        // Who gets it finds out, and begins again.
        coming.reset().unwrap();
        let fault = fetched.join().unwrap().unwrap();
        assert_eq!(fault.kind, Kind::Broken, "{fault:?}");
    });
    assert!(!two.store().has_blob(&digest));
}

#[test]
fn half_of_something_else_is_begun_again() {
    let authority = Authority::new().unwrap();
    let (one, blobs) = (full(&authority, "h0.kiln"), blobs());
    let two = Agent::start(hello(&authority, "h1.kiln", &list(&blobs), 60_000), |store| {
        let (digest, size) = list(&blobs)[1].clone();
        let mut half = store.download(&digest, size, &|| false).unwrap().unwrap();
        half.write_all(&vec![7; 5_000_000]).unwrap();
    });
    assert_eq!(two.fetch(one.address, "h0.kiln", &[1]), None);
    let (digest, size) = list(&blobs)[1].clone();
    assert_eq!(two.store().read_blob(&digest, size).unwrap(), blobs[1]);
}

#[test]
fn who_has_other_bytes_is_told_of_and_nothing_is_kept() {
    let authority = Authority::new().unwrap();
    let (one, blobs) = (full(&authority, "h0.kiln"), blobs());
    let (digest, _) = list(&blobs)[1].clone();
    std::fs::write(one.store().blob_path(&digest), vec![1; blobs[1].len()]).unwrap();
    let two = empty(&authority, "h1.kiln");
    let fault = two.fetch(one.address, "h0.kiln", &[1]).unwrap();
    assert_eq!(fault.kind, Kind::Lied, "{fault:?}");
    assert!(!two.store().has_blob(&digest) && two.store().downloaded(&digest) == 0);
}

#[test]
fn only_hosts_of_this_launch_are_served() {
    let authority = Authority::new().unwrap();
    let one = full(&authority, "h0.kiln");
    let (digest, _) = list(&blobs())[0].clone();
    let says = format!("blob {digest} 0\n");
    let well = identity(&authority, "h9.kiln").client;
    // The blob may have come with the line, or not yet.
    assert!(ask(&well, one.address, "h0.kiln", &says).unwrap().starts_with("here 11\n"));
    // Without a certificate: everything else is right.
    let mut roots = rustls::RootCertStore::empty();
    use rustls_pki_types::pem::PemObject;
    roots.add(rustls_pki_types::CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let bare = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let refused = ask(&Arc::new(bare), one.address, "h0.kiln", &says).unwrap_err().to_string();
    assert!(refused.contains("CertificateRequired"), "{refused}");
    // With one of another launch, that trusts this one.
    let other = Authority::new().unwrap();
    let made = other.certificate("h0.kiln").unwrap();
    let foreign = Identity::of(&made.certificate, &made.key, &authority.pem()).unwrap().client;
    assert!(ask(&foreign, one.address, "h0.kiln", &says).is_err());
    // And who asks looks at who answers: another host of the same launch is not the one that is meant.
    assert!(ask(&well, one.address, "h1.kiln", &says).unwrap_err().to_string().contains("certificate"));
    let two = empty(&other, "h1.kiln");
    assert_eq!(two.fetch(one.address, "h0.kiln", &[0]).unwrap().kind, Kind::Refused);
}

#[test]
fn only_blobs_of_the_image_can_be_asked_for() {
    let authority = Authority::new().unwrap();
    let one = full(&authority, "h0.kiln");
    let peer = identity(&authority, "h9.kiln").client;
    let secret = Digest::of(b"a secret of another image");
    for (says, answer) in [
        (format!("blob {secret} 0\n"), "no: it is not of this image\n"),
        ("blob ../../../etc/passwd 0\n".to_owned(), "no: that is no question\n"),
        ("blob sha256:../../../etc/passwd 0\n".to_owned(), "no: that is no question\n"),
        ("GET / HTTP/1.1\n".to_owned(), "no: that is no question\n"),
        (format!("blob {} 12\n", Digest::of(b"a small one")), "no: it has another size\n"),
    ] {
        assert_eq!(ask(&peer, one.address, "h0.kiln", &says).unwrap(), answer, "{says}");
    }
    assert!(ask(&peer, one.address, "h0.kiln", &"x".repeat(5000)).is_err());
}

#[test]
fn the_binary_is_for_who_knows_it() {
    let authority = Authority::new().unwrap();
    let one = full(&authority, "h0.kiln");
    let get = |digest: &str| {
        let mut stream = TcpStream::connect(one.address).unwrap();
        stream.write_all(format!("binary {digest}\n").as_bytes()).unwrap();
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        bytes
    };
    assert_eq!(get(&Digest::of(b"the binary").hex()), b"the binary");
    assert_eq!(get(&Digest::of(b"another").hex()), b"");
    assert_eq!(get("../../etc/passwd"), b"");
}

#[test]
fn an_agent_ends_with_its_launcher() {
    let authority = Authority::new().unwrap();
    let mut one = full(&authority, "h0.kiln");
    one.orders = None;
    one.join();
    // One that is there and says nothing is as good as gone.
    let mut two = Agent::start(hello(&authority, "h1.kiln", &[], 300), |_| {});
    two.join();
}

#[test]
fn what_is_no_launcher_is_refused() {
    let authority = Authority::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (output, _said) = channel();
    let mut old = hello(&authority, "h0.kiln", &[], 1000);
    old.version += 1;
    let mut wrong = hello(&authority, "h0.kiln", &[], 1000);
    wrong.certificate = authority.certificate("h1.kiln").unwrap().certificate;
    for first in [
        b"{}\n".to_vec(),
        b"x".to_vec(),
        line(&Order::Alive),
        line(&Order::Hello(Box::new(old))),
        line(&Order::Hello(Box::new(wrong))),
    ] {
        let input = Box::new(BufReader::new(std::io::Cursor::new(first)));
        let error = take_part(&store, dir.path(), input, &mut Output(output.clone())).unwrap_err().to_string();
        assert!(!error.contains("PRIVATE"), "{error}");
    }
}

#[test]
fn nobody_there_is_told_as_such() {
    let authority = Authority::new().unwrap();
    let one = empty(&authority, "h0.kiln");
    let closed = std::net::TcpListener::bind((HERE, 0)).unwrap().local_addr().unwrap();
    assert_eq!(one.fetch(closed, "h1.kiln", &[0]).unwrap().kind, Kind::Unreachable);
    let two = full(&authority, "h1.kiln");
    // It has not what it should have.
    std::fs::remove_file(two.store().blob_path(&list(&blobs())[0].0)).unwrap();
    let fault = one.fetch(two.address, "h1.kiln", &[0]).unwrap();
    assert!(fault.kind == Kind::Broken && fault.why.contains("it is not here"), "{fault:?}");
}
