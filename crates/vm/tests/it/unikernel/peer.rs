//! NSD, a server of others for the same zone.

use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kiln_testkit::tools::tool;
use tempfile::TempDir;

use super::decode::Message;
use super::made;

/// A server that is running.
pub struct Nsd {
    child: Child,
    socket: UdpSocket,
    dir: TempDir,
}

impl Nsd {
    pub fn start() -> Nsd {
        let dir = tempfile::tempdir().unwrap();
        let (at, port) = (dir.path().display(), made::free());
        std::fs::write(dir.path().join("zone"), made::EXAMPLE).unwrap();
        let config = format!(
            "server:\n ip-address: 127.0.0.1@{port}\n username: \"\"\n chroot: \"\"\n zonesdir: \"{at}\"\n database: \"\"\n\
             \x20pidfile: \"\"\n xfrdfile: \"{at}/xfrd\"\n zonelistfile: \"{at}/list\"\n xfrdir: \"{at}\"\n\
             \x20minimal-responses: yes\n rrl-ratelimit: 0\n server-count: 1\n\
             remote-control:\n control-enable: no\nzone:\n name: example.org\n zonefile: zone\n"
        );
        std::fs::write(dir.path().join("conf"), config).unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let mut command = Command::new(tool("nsd"));
        command.arg("-d").arg("-c").arg(dir.path().join("conf")).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        Nsd { child, socket, dir }
    }

    pub fn packet(&self, request: &[u8]) -> Vec<u8> {
        let mut answer = vec![0; 65536];
        for _ in 0..400 {
            if self.socket.send(request).is_err() {
                std::thread::sleep(Duration::from_millis(100));
            }
            while let Ok(length) = self.socket.recv(&mut answer) {
                if answer[12..length].starts_with(&request[12..request.len()]) {
                    return answer[..length].to_vec();
                }
            }
        }
        panic!("nsd does not answer: {}", std::fs::read_to_string(self.dir.path().join("log")).unwrap());
    }
}

impl Drop for Nsd {
    fn drop(&mut self) {
        // It ends its children when it is told to, and leaves them when it is killed.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// What two servers must agree on: not the order within a section, nor what else may help.
pub fn comparable(message: &Message) -> String {
    let mut message = message.clone();
    for section in &mut message.sections {
        section.sort();
    }
    let referral = message.sections[0].is_empty() && message.sections[1].iter().any(|line| line.contains(" NS "));
    if !referral {
        message.sections[2].clear();
    }
    message.to_string()
}
