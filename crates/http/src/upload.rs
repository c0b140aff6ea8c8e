//! Bodies that are read on the caller's thread while the connection runs on another.

use std::io;

use bytes::Bytes;
use reqwest::{Body, Response};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};

/// Pieces between the reader and the connection.
const PIECES_AHEAD: usize = 4;

/// What came of a request that ran as a task of its own.
pub type Answered = Result<reqwest::Result<Response>, JoinError>;

/// Takes the pieces of a body.
pub type Pieces = mpsc::Sender<Result<Bytes, io::Error>>;

/// A body, and where its pieces go. It ends when the sender is dropped.
pub fn body() -> (Pieces, Body) {
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    let pieces = futures_util::stream::unfold(receiver, |mut receiver: mpsc::Receiver<_>| async move {
        receiver.recv().await.map(|piece: Result<Bytes, io::Error>| (piece, receiver))
    });
    (sender, Body::wrap_stream(pieces))
}

/// A request that ends when nobody waits for it any more.
#[derive(Debug)]
pub struct Exchange(pub JoinHandle<reqwest::Result<Response>>);

impl Drop for Exchange {
    fn drop(&mut self) {
        self.0.abort();
    }
}
