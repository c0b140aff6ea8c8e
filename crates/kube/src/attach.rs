//! The context through the API server: standard input of the pod's program.

use std::fs::File;
use std::os::unix::fs::FileExt;

use kube::api::AttachParams;
use tokio::io::AsyncWriteExt;

use crate::call::{ATTACH, Core, shown};
use crate::error::KubeError;
use crate::plan::CONTAINER;

/// Bytes that are on their way at most.
const BUFFER: usize = 256 << 10;

/// Sends a file and its end, and holds the connection. `moved` is told how many bytes are gone.
pub(crate) async fn send(core: &Core, pod: &str, file: &File, moved: &(dyn Fn(u64) + Sync)) -> Result<(), KubeError> {
    let params = AttachParams {
        container: Some(CONTAINER.to_owned()),
        stdin: true,
        stdout: false,
        stderr: false,
        max_stdin_buf_size: Some(BUFFER),
        ..AttachParams::default()
    };
    let mut attached = core.pods().attach(pod, &params).await.map_err(|e| match core.failure(ATTACH, e) {
        refused @ (KubeError::Forbidden { .. } | KubeError::Unauthorized { .. }) => refused,
        other => hand_over(pod, &other.to_string()),
    })?;
    let Some(mut stdin) = attached.stdin() else { return Err(hand_over(pod, "the connection has no standard input")) };
    let (mut buffer, mut sent) = (vec![0; BUFFER], 0_u64);
    loop {
        let count = file.read_at(&mut buffer, sent).map_err(KubeError::Context)?;
        if count == 0 {
            break;
        }
        stdin.write_all(&buffer[..count]).await.map_err(|e| hand_over(pod, &e.to_string()))?;
        sent += count as u64;
        moved(sent);
    }
    stdin.shutdown().await.map_err(|e| hand_over(pod, &e.to_string()))?;
    drop(stdin);
    // The connection stays until the other side has taken everything and closes it, at the latest with the program.
    // That it breaks after the last byte is not its to tell: an archive that lacks its end is found where it is read.
    let _ = attached.join().await;
    Ok(())
}

fn hand_over(pod: &str, why: &str) -> KubeError {
    KubeError::HandOver { pod: pod.to_owned(), why: shown(why) }
}
