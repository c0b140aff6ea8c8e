//! The port: plain, as a proxy, and over TLS; and the order of things around one call.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::faults::{Cut, Moment};
use super::{Call, Shared, lock, metadata, oss, rpc};
use crate::http::{Request, Wire, decoded};

/// The largest request: a part of an upload.
const MAX: usize = 64 << 20;

trait Connection: Read + Write + Send {}
impl<T: Read + Write + Send> Connection for T {}

/// An answer, and what it says of the call for the trace.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) call: Option<Call>,
}

/// Answers the requests of a connection.
pub(super) fn serve(stream: TcpStream, tls: Arc<ServerConfig>, shared: &Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let Ok(raw) = stream.try_clone() else { return };
    let mut first = [0];
    let Ok(1) = stream.peek(&mut first) else { return };
    let connection: Box<dyn Connection> = match first[0] {
        0x16 => match ServerConnection::new(tls) {
            Ok(connection) => Box::new(StreamOwned::new(connection, stream)),
            Err(_) => return,
        },
        _ => Box::new(stream),
    };
    let mut wire = Wire::new(connection);
    while let Some(mut request) = wire.request(MAX) {
        request.path = decoded(&request.path);
        let Some(answer) = answer(request, shared) else {
            let _ = raw.shutdown(Shutdown::Both);
            return;
        };
        if wire.answer(answer.status, &answer.headers, &answer.body).is_err() {
            return;
        }
    }
}

/// What a request comes to; nothing if its connection is to break.
fn answer(request: Request, shared: &Arc<Shared>) -> Option<Answer> {
    if request.method == "CONNECT" {
        return Some(Answer { status: 501, ..Answer::default() });
    }
    if request.path.starts_with("/latest/") {
        return Some(metadata::answer(&request));
    }
    let number = {
        let mut came = lock(&shared.came);
        *came += 1;
        shared.arrived.notify_all();
        *came
    };
    let faults = lock(&shared.faults).clone();
    let at = |when: Moment| Some(Cut { call: number, when });
    let interrupted = |when: Moment| {
        if faults.hold == at(when) {
            std::thread::sleep(Duration::from_secs(600));
        }
        faults.cut == at(when)
    };
    if interrupted(Moment::Before) {
        return None;
    }
    let mut answer = match request.header("authorization").starts_with("OSS4-") {
        true => oss::answer(&request, number, shared),
        false => rpc::answer(&request, number, shared),
    };
    lock(&shared.trace).extend(answer.call.take());
    if interrupted(Moment::After) { None } else { Some(answer) }
}
