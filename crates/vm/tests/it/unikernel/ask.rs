//! A client: requests written by hand, answers in words.

use std::io::{self, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use super::decode::{Message, kind};
use super::made::Kernel;

/// How long it is waited before asking again; datagrams may be lost.
const AGAIN: Duration = Duration::from_millis(300);
/// For an answer in a stream.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks one machine, which must be alive all the time.
pub struct Asker<'a> {
    kernel: &'a Kernel,
    socket: UdpSocket,
    again: Duration,
}

impl<'a> Asker<'a> {
    pub fn new(kernel: &'a Kernel) -> Asker<'a> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", kernel.port)).unwrap();
        Asker { kernel, socket, again: AGAIN }
    }

    /// One that asks all the time: for how long the first answer takes.
    pub fn eager(kernel: &'a Kernel) -> Asker<'a> {
        Asker { again: Duration::from_millis(2), ..Asker::new(kernel) }
    }

    fn alive(&self) {
        self.kernel.vm.check("the test asked it").unwrap();
    }

    /// What comes back to a packet, which is sent again until something does.
    pub fn packet(&self, request: &[u8]) -> Vec<u8> {
        let mut answer = vec![0; 65536];
        self.socket.set_read_timeout(Some(self.again)).unwrap();
        loop {
            self.alive();
            // Before qemu listens, sending and receiving fail.
            let _ = self.socket.send(request);
            while let Ok(length) = self.socket.recv(&mut answer) {
                // Answers to what was asked before, and asked again, may be on their way.
                if answer[12..length].starts_with(&request[12..request.len()]) {
                    return answer[..length].to_vec();
                }
            }
        }
    }

    pub fn udp(&self, name: &str, kind: &str) -> String {
        Message::read(&self.packet(&question(name, kind))).unwrap().to_string()
    }

    pub fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.kernel.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// The same in a stream; when there is no room for one more, later.
    pub fn tcp(&self, name: &str, kind: &str) -> String {
        loop {
            self.alive();
            let answer = self.connect().and_then(|mut stream| {
                stream.write_all(&framed(&question(name, kind)))?;
                read_framed(&mut stream)
            });
            match answer {
                Ok(answer) => return Message::read(&answer).unwrap().to_string(),
                Err(_) => std::thread::sleep(AGAIN),
            }
        }
    }

    /// Datagrams that make no sense.
    pub fn garbage(&self) {
        let whole = question("www.example.org", "A");
        let mut packets: Vec<Vec<u8>> = (0..whole.len()).map(|length| whole[..length].to_vec()).collect();
        packets.extend((0..whole.len()).map(|at| [&whole[..at], b"\xc0\x0c", &whole[at..]].concat()));
        packets.extend([
            vec![0xff; 1400],
            vec![0; 1400],
            b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\xc0\x0c\0\x01\0\x01".to_vec(),
        ]);
        for packet in packets {
            let _ = self.socket.send(&packet);
        }
    }
}

/// A request.
pub fn question(name: &str, of: &str) -> Vec<u8> {
    let mut out = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        out.push(u8::try_from(label.len()).unwrap());
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out.extend_from_slice(&kind(of).to_be_bytes());
    out.extend_from_slice(&[0, 1]);
    out
}

/// A message with its length in front.
pub fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
}

/// The next message of a stream.
pub fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}
