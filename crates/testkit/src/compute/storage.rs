//! Cloud Storage: objects in one bucket, in one go or in chunks.

use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::json;

use super::state::State;
use super::wire::Reply;
use super::{BUCKET, Call};
use crate::http::{Request, decoded};

/// Bucket and object of a path.
fn place(request: &Request) -> Option<(String, String)> {
    let (_, rest) = request.path.split_once("/storage/v1/b/")?;
    let (bucket, object) = rest.split_once("/o").unwrap_or((rest, ""));
    let object = match object.trim_start_matches('/') {
        "" => request.parameter("name").unwrap_or_default().to_owned(),
        object => decoded(object),
    };
    Some((decoded(bucket), object))
}

/// Action and name of a call.
pub fn about(request: &Request) -> (String, String) {
    let action = match &*request.method {
        "GET" => "objects.get",
        "DELETE" => "objects.delete",
        "POST" => "objects.insert",
        _ => "objects.continue",
    };
    let name = place(request).map(|(bucket, object)| format!("gs://{bucket}/{object}")).unwrap_or_default();
    (action.to_owned(), name)
}

/// Answers it.
pub fn answer(request: &Request, call: &Call, state: &mut State) -> Reply {
    if let Some((_, id)) = request.path.split_once("/upload-session/") {
        return chunk(request, id, state);
    }
    let Some((bucket, object)) = place(request) else { return super::api::missing("bucket") };
    if bucket != BUCKET {
        return Reply::refused(404, "notFound", "The specified bucket does not exist.");
    }
    let key = (bucket, object);
    match &*request.method {
        "GET" => match state.objects.get(&key) {
            Some(bytes) => Reply::ok(json!({ "name": key.1, "size": bytes.len().to_string() })),
            None => Reply::refused(404, "notFound", &format!("No such object: {}/{}", key.0, key.1)),
        },
        "DELETE" => match state.objects.remove(&key) {
            Some(_) => Reply::empty(204),
            None => Reply::refused(404, "notFound", &format!("No such object: {}/{}", key.0, key.1)),
        },
        "POST" if request.parameter("uploadType").is_some_and(|kind| kind == "resumable") => {
            let id = format!("u{}", call.number);
            let host = request.header("host");
            state.uploads.insert(id.clone(), (key.0, key.1, Vec::new()));
            Reply::empty(200).with("Location", &format!("http://{host}/upload-session/{id}"))
        }
        "POST" => {
            let size = request.body.len();
            let name = key.1.clone();
            state.objects.insert(key, request.body.clone());
            Reply::ok(json!({ "name": name, "size": size.to_string() }))
        }
        _ => Reply::empty(405),
    }
}

fn chunk(request: &Request, id: &str, state: &mut State) -> Reply {
    let Some((bucket, object, kept)) = state.uploads.get_mut(id) else { return Reply::empty(404) };
    if request.method == "DELETE" {
        state.uploads.remove(id);
        return Reply::empty(499);
    }
    kept.extend_from_slice(&request.body);
    let range = request.header("content-range");
    let whole: usize = range.rsplit('/').next().and_then(|total| total.parse().ok()).unwrap_or(usize::MAX);
    if kept.len() < whole {
        let reply = Reply::empty(308);
        return if kept.is_empty() { reply } else { reply.with("Range", &format!("bytes=0-{}", kept.len() - 1)) };
    }
    let (key, bytes) = ((bucket.clone(), object.clone()), std::mem::take(kept));
    state.uploads.remove(id);
    let reply = Reply::ok(json!({ "name": key.1, "size": bytes.len().to_string() }));
    state.objects.insert(key, bytes);
    reply
}

/// The size in GB of the disk in an object, which is what Google imports: `disk.raw` alone in a tar.gz, of whole GB.
pub fn size_of_disk(state: &State, source: &str) -> Result<u64, String> {
    let path = source.split_once("://").map_or(source, |(_, rest)| rest);
    let mut parts = path.splitn(3, '/').skip(1).map(decoded);
    let key = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let bytes = state.objects.get(&key).ok_or_else(|| format!("The object {source} does not exist"))?;
    let broken = |e: std::io::Error| format!("The tar archive is not a valid image: {e}");
    let mut archive = tar::Archive::new(GzDecoder::new(&bytes[..]));
    let mut sizes = Vec::new();
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        if entry.path().map_err(broken)?.to_string_lossy() != "disk.raw" {
            return Err("The tar archive is not a valid image: it must hold disk.raw".to_owned());
        }
        let (mut size, mut piece) = (0, vec![0; 1 << 20]);
        loop {
            match entry.read(&mut piece).map_err(broken)? {
                0 => break,
                count => size += count as u64,
            }
        }
        sizes.push(size);
    }
    match sizes[..] {
        [size] if size > 0 && size % (1 << 30) == 0 => Ok(size >> 30),
        [size] => Err(format!("The disk has {size} bytes, which are no whole GB")),
        _ => Err("The tar archive is not a valid image: it must hold disk.raw alone".to_owned()),
    }
}
