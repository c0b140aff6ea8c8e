//! Debian's apt-cacher-ng on loopback: packages are fetched over the network once, and then by every builder alike.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::error::Error;

/// A running proxy; stopped when dropped.
#[derive(Debug)]
pub(super) struct Proxy {
    child: Child,
    port: u16,
}

impl Proxy {
    /// Starts one that keeps its files in `dir`.
    pub(super) fn start(dir: &Path) -> Result<Proxy, Error> {
        let program = kiln_testkit::tools::find("apt-cacher-ng").map_err(Error::MissingTool)?;
        let unwritable = |cause| Error::Write { path: dir.to_owned(), cause };
        fs::create_dir_all(dir).map_err(unwritable)?;
        let port = free_port().map_err(unwritable)?;
        fs::write(dir.join("acng.conf"), configuration(dir, port, upstream().as_deref())).map_err(unwritable)?;
        let mut command = Command::new("setpriv");
        // The kernel stops it should this process die.
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).arg("-c").arg(dir);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|cause| Error::Start { program: "apt-cacher-ng".to_owned(), cause })?;
        let mut proxy = Proxy { child, port };
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(proxy);
            }
            if proxy.child.try_wait().ok().flatten().is_some() {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
        Err(Error::MissingTool("apt-cacher-ng does not listen on loopback".to_owned()))
    }

    /// What `http_proxy` must be.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// apt-cacher-ng takes ports above 32767 for negative numbers, and the kernel gives no others.
fn free_port() -> std::io::Result<u16> {
    let free = (20_000..32_000).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.ok_or_else(|| std::io::Error::other("no port of loopback is free"))
}

/// The proxy that apt uses on this machine.
fn upstream() -> Option<String> {
    let out = Command::new("apt-config").args(["dump", "--format", "%v%n", "Acquire::http::Proxy"]).output().ok()?;
    let text = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    (!text.is_empty() && text != "DIRECT").then_some(text)
}

fn configuration(dir: &Path, port: u16, upstream: Option<&str>) -> String {
    let dir = dir.display();
    let mut text = format!(
        "CacheDir: {dir}/cache\nLogDir: {dir}/log\nSocketPath: {dir}/socket\nPidFile: {dir}/pid\nPort: {port}\n\
         BindAddress: 127.0.0.1\nForeGround: 1\nConnectProto: v4 v6\n"
    );
    if let Some(upstream) = upstream {
        text += &format!("Proxy: {upstream}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_own_proxy_is_passed_on() {
        let text = configuration(Path::new("/d"), 7, Some("http://p:1"));
        assert!(text.contains("CacheDir: /d/cache\n") && text.contains("Port: 7\n"));
        assert!(text.ends_with("Proxy: http://p:1\n"));
        assert!(!configuration(Path::new("/d"), 7, None).contains("Proxy:"));
    }
}
