//! As much of the remote framebuffer protocol (RFC 6143) as typing takes.

mod des;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::VmError;
use crate::boot::{Key, Keyboard};

const PATIENCE: Duration = Duration::from_secs(20);
/// The longest text (a name, a reason, a clipboard) that is read.
const LONGEST_TEXT: u32 = 1 << 16;

/// A keyboard at a VNC server.
#[derive(Debug)]
pub struct Vnc {
    stream: TcpStream,
    address: SocketAddr,
    pixel: usize,
}

impl Vnc {
    /// Connects, with the password if the server wants one.
    ///
    /// # Errors
    /// There is no server, it speaks something else, or it refuses the password.
    pub fn connect(address: SocketAddr, password: Option<&str>) -> Result<Vnc, VmError> {
        let broken = |e: std::io::Error| failed(address, e.to_string());
        let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(broken)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(broken)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        let mut vnc = Vnc { stream, address, pixel: 4 };
        vnc.handshake(password)?;
        Ok(vnc)
    }

    fn handshake(&mut self, password: Option<&str>) -> Result<(), VmError> {
        let version: [u8; 12] = self.read()?;
        if !version.starts_with(b"RFB 003.") || version[8..11] < b"008"[..] {
            let said = String::from_utf8_lossy(&version).escape_debug().to_string();
            return Err(self.error(format!("it says {said:?} instead of a version from 3.8 on")));
        }
        self.write(b"RFB 003.008\n")?;
        let [count] = self.read()?;
        if count == 0 {
            let reason = self.text()?;
            return Err(self.error(format!("it refuses: {reason}")));
        }
        let mut kinds = vec![0; usize::from(count)];
        self.stream.read_exact(&mut kinds).map_err(|e| failed(self.address, e.to_string()))?;
        match password {
            None if kinds.contains(&1) => self.write(&[1])?,
            Some(password) if kinds.contains(&2) => {
                self.write(&[2])?;
                let challenge: [u8; 16] = self.read()?;
                self.write(&des::respond(password, challenge))?;
            }
            // A password for a server that wants none.
            Some(_) if kinds.contains(&1) => self.write(&[1])?,
            None if kinds.contains(&2) => return Err(self.error("it wants a password".to_owned())),
            _ => return Err(self.error(format!("none of its ways to log in is known ({kinds:?})"))),
        }
        if u32::from_be_bytes(self.read()?) != 0 {
            let reason = self.text()?;
            return Err(self.error(format!("it refuses: {reason}")));
        }
        // Others may look on.
        self.write(&[1])?;
        let init: [u8; 20] = self.read()?;
        self.pixel = usize::from(init[4] / 8).clamp(1, 4);
        self.text().map(drop)
    }

    /// Waits until the server has taken all keys: it answers in order, so a pixel of the screen is asked for.
    ///
    /// # Errors
    /// The server is gone.
    pub fn settle(&mut self) -> Result<(), VmError> {
        self.write(&[3, 0, 0, 0, 0, 0, 0, 1, 0, 1])?;
        loop {
            match self.read()? {
                [0u8] => return self.update(),
                [2] => {}
                [3] => {
                    let _: [u8; 3] = self.read()?;
                    self.text()?;
                }
                [kind] => return Err(self.error(format!("message of unknown kind {kind}"))),
            }
        }
    }

    fn update(&mut self) -> Result<(), VmError> {
        let [_, high, low] = self.read()?;
        for _ in 0..u16::from_be_bytes([high, low]) {
            let [_, _, _, _, w1, w0, h1, h0, e3, e2, e1, e0] = self.read()?;
            if [e3, e2, e1, e0] != [0; 4] {
                return Err(self.error("it sends pixels in a form that was not agreed".to_owned()));
            }
            let pixels = u64::from(u16::from_be_bytes([w1, w0])) * u64::from(u16::from_be_bytes([h1, h0]));
            self.skip(pixels * self.pixel as u64)?;
        }
        Ok(())
    }

    fn skip(&mut self, bytes: u64) -> Result<(), VmError> {
        let skipped = std::io::copy(&mut (&self.stream).take(bytes), &mut std::io::sink());
        match skipped {
            Ok(n) if n == bytes => Ok(()),
            Ok(_) => Err(self.error("it hung up".to_owned())),
            Err(e) => Err(self.error(e.to_string())),
        }
    }

    fn text(&mut self) -> Result<String, VmError> {
        let length = u32::from_be_bytes(self.read()?);
        if length > LONGEST_TEXT {
            return Err(self.error(format!("a text of {length} bytes")));
        }
        let mut text = vec![0; length as usize];
        self.stream.read_exact(&mut text).map_err(|e| failed(self.address, e.to_string()))?;
        Ok(String::from_utf8_lossy(&text).chars().filter(|c| !c.is_control()).collect())
    }

    fn read<const N: usize>(&mut self) -> Result<[u8; N], VmError> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).map_err(|e| failed(self.address, e.to_string()))?;
        Ok(bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), VmError> {
        self.stream.write_all(bytes).map_err(|e| failed(self.address, e.to_string()))
    }

    fn error(&self, why: String) -> VmError {
        failed(self.address, why)
    }
}

fn failed(address: SocketAddr, why: String) -> VmError {
    VmError::Screen { address: address.to_string(), why }
}

impl Keyboard for Vnc {
    fn key(&mut self, key: Key, down: bool) -> Result<(), VmError> {
        let [a, b, c, d] = key.keysym.to_be_bytes();
        self.write(&[4, u8::from(down), 0, 0, a, b, c, d])
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server that sends this, and what it then hears.
    fn server(sends: Vec<u8>) -> (SocketAddr, std::thread::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&sends).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut heard = Vec::new();
            let _ = stream.read_to_end(&mut heard);
            heard
        });
        (address, thread)
    }

    fn init() -> Vec<u8> {
        let mut out = vec![0; 20];
        out[4] = 32;
        out.extend([0, 0, 0, 4]);
        out.extend(b"QEMU");
        out
    }

    #[test]
    fn keys_are_sent_after_the_handshake() {
        let mut sends = b"RFB 003.008\n\x01\x01\0\0\0\0".to_vec();
        sends.extend(init());
        // A bell, a clipboard, and the pixel.
        sends.extend([2, 3, 0, 0, 0, 0, 0, 0, 1, b'x', 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 9, 9, 9, 9]);
        let (address, heard) = server(sends);
        let mut vnc = Vnc::connect(address, None).unwrap();
        vnc.key(Key::of('a').unwrap(), true).unwrap();
        vnc.settle().unwrap();
        assert!(vnc.settle().is_err());
        drop(vnc);
        let heard = heard.join().unwrap();
        assert_eq!(heard[..12], *b"RFB 003.008\n");
        assert_eq!(heard[12..22], [1, 1, 4, 1, 0, 0, 0, 0, 0, b'a']);
    }

    #[test]
    fn strange_servers_are_refused() {
        let cases: [(&[u8], &str); 7] = [
            (b"SSH-2.0-OpenSSH_9\r\n", "instead of a version"),
            (b"RFB 003.003\n", "instead of a version"),
            (b"RFB 003.008\n\0\0\0\0\x04busy", "it refuses: busy"),
            (b"RFB 003.008\n\x01\x02", "it wants a password"),
            (b"RFB 003.008\n\x01\x13", "none of its ways to log in"),
            (b"RFB 003.008\n\x01\x01\0\0\0\x01\xff\xff\xff\xff", "a text of 4294967295 bytes"),
            (b"RFB 0", "fill whole buffer"),
        ];
        for (sends, said) in cases {
            let (address, _heard) = server(sends.to_vec());
            let error = Vnc::connect(address, None).unwrap_err().to_string();
            assert!(error.contains(said), "{said}: {error}");
        }
    }
}
