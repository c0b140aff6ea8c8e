//! Answers to who sends a blob: begin, go on, finish, cancel.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, LOCATION, RANGE};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use kiln_oci::Digest;

use crate::handlers::CONTENT_DIGEST;
use crate::names::Name;
use crate::range;
use crate::refusal::{Code, Refusal};
use crate::service::{Asked, Outcome, PIECE, bare};
use crate::upload::{Active, location, progress};

/// So many bytes are gathered before they are written.
const PORTION: usize = 256 << 10;

const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// The digest that a query names.
fn digest_of(text: &str) -> Result<Digest, Refusal> {
    text.parse().map_err(|e: kiln_oci::digest::DigestError| Refusal::new(Code::DigestInvalid, e.to_string()))
}

fn created(name: &Name, digest: &Digest) -> Outcome {
    let digest = digest.to_string();
    let place = format!("/v2/{}/blobs/{digest}{}", name.path, name.query());
    Ok(bare(StatusCode::CREATED, &[(LOCATION, &place), (CONTENT_DIGEST, &digest)]))
}

fn accepted(status: StatusCode, name: &Name, id: &str, offset: u64) -> Outcome {
    let place = location(name, id);
    Ok(bare(status, &[(LOCATION, &place), (RANGE, &progress(offset)), (UPLOAD_ID, id)]))
}

/// `POST …/uploads/`: takes a blob over from another repository, or all of it at once, or begins an upload.
pub(crate) async fn begin(asked: &Asked<'_>, name: Name, body: Incoming) -> Outcome {
    if let Some(mounted) = asked.query.get("mount") {
        let digest = digest_of(mounted)?;
        if let Some(from) = asked.mounted_from() {
            let (to, what) = (name.clone(), digest.clone());
            if asked.block(move |app| app.library.mount(&to, &from, &what)).await? {
                return created(&name, &digest);
            }
        }
    }
    let whole = asked.query.get("digest").filter(|_| asked.query.get("mount").is_none());
    let whole = whole.map(digest_of).transpose()?;
    let id = asked.app.uploads.begin(&name)?;
    match whole {
        None => accepted(StatusCode::ACCEPTED, &name, &id, 0),
        Some(digest) => {
            let active = resume(asked, &name, &id, None).await?;
            match receive(asked, active, body).await? {
                (active, Ok(())) => finish(asked, name, active, digest).await,
                (active, Err(refusal)) => {
                    // Nobody was told its name, so nobody can go on.
                    active.discard();
                    Err(refusal)
                }
            }
        }
    }
}

async fn resume(asked: &Asked<'_>, name: &Name, id: &str, start: Option<u64>) -> Result<Active, Refusal> {
    let (name, id) = (name.clone(), id.to_owned());
    asked.block(move |app| app.uploads.resume(&app.library, &name, &id, start)).await
}

/// `PATCH` and `PUT` of an upload.
pub(crate) async fn go_on(asked: &Asked<'_>, name: Name, id: String, body: Incoming) -> Outcome {
    let digest = match (&asked.method, asked.query.get("digest")) {
        (&Method::PUT, None) => return Err(Refusal::new(Code::DigestInvalid, "the digest is missing")),
        (&Method::PUT, Some(text)) => Some(digest_of(text)?),
        _ => None,
    };
    let chunk = asked.headers.get(CONTENT_RANGE).map(|value| value.to_str().ok().and_then(range::chunk));
    let chunk = match chunk {
        Some(None) => {
            return Err(Refusal::new(Code::BlobUploadInvalid, "Content-Range is not FIRST-LAST"));
        }
        Some(known) => known,
        None => None,
    };
    let length = asked.header(CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    if let (Some((first, last)), Some(length)) = (chunk, length)
        && (last - first).checked_add(1) != Some(length)
    {
        return Err(Refusal::new(Code::SizeInvalid, "Content-Range and Content-Length disagree"));
    }
    if digest.is_none() && asked.header(CONTENT_TYPE).is_some_and(|t| t.starts_with("multipart/")) {
        return Err(Refusal::new(Code::BlobUploadInvalid, "a chunk is sent as it is, not as a form"));
    }
    let before = chunk.map(|(first, _)| first);
    let active = resume(asked, &name, &id, before).await?;
    let expected = chunk.map(|(first, last)| (last - first).saturating_add(1));
    let began = active.offset();
    if length.is_some_and(|length| length > active.room()) {
        return Err(
            Refusal::new(Code::SizeInvalid, "uploads of that size are refused").status(StatusCode::PAYLOAD_TOO_LARGE)
        );
    }
    let (active, received) = receive(asked, active, body).await?;
    received?;
    let offset = active.offset();
    if expected.is_some_and(|expected| offset - began != expected) {
        return Err(Refusal::new(Code::SizeInvalid, "not as many bytes came as Content-Range says"));
    }
    match digest {
        None => {
            drop(active);
            accepted(StatusCode::ACCEPTED, &name, &id, offset)
        }
        Some(digest) => finish(asked, name, active, digest).await,
    }
}

/// `GET` of an upload.
pub(crate) async fn status(asked: &Asked<'_>, name: Name, id: String) -> Outcome {
    let (of, which) = (name.clone(), id.clone());
    let offset = asked.block(move |app| app.uploads.offset(&app.library, &of, &which)).await?;
    accepted(StatusCode::NO_CONTENT, &name, &id, offset)
}

/// `DELETE` of an upload.
pub(crate) async fn cancel(asked: &Asked<'_>, name: Name, id: String) -> Outcome {
    asked.block(move |app| app.uploads.cancel(&app.library, &name, &id)).await?;
    Ok(bare(StatusCode::NO_CONTENT, &[]))
}

async fn finish(asked: &Asked<'_>, name: Name, active: Active, digest: Digest) -> Outcome {
    let _working = asked.connection.busy.work();
    let (of, what) = (name.clone(), digest.clone());
    asked.block(move |app| active.finish(&app.library, &of, &what)).await?;
    created(&name, &digest)
}

/// Takes a body as it comes. What has come stays, whatever happens then; only a fault of this server loses the upload.
async fn receive(
    asked: &Asked<'_>,
    mut active: Active,
    mut body: Incoming,
) -> Result<(Active, Result<(), Refusal>), Refusal> {
    let mut gathered = BytesMut::new();
    loop {
        let frame = tokio::time::timeout(PIECE, body.frame()).await;
        let (ended, broken) = match frame {
            Ok(None) => (true, false),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    gathered.extend_from_slice(&data);
                }
                (false, false)
            }
            Ok(Some(Err(_))) | Err(_) => (true, true),
        };
        if gathered.len() >= PORTION || (ended && !gathered.is_empty()) {
            let _working = asked.connection.busy.work();
            let portion = gathered.split().freeze();
            let (back, result) = write(asked, active, portion).await?;
            active = back;
            if result.is_err() {
                return Ok((active, result));
            }
        }
        if ended {
            let text = "the body broke off";
            let result = if broken { Err(Refusal::new(Code::BlobUploadInvalid, text)) } else { Ok(()) };
            return Ok((active, result));
        }
    }
}

async fn write(
    asked: &Asked<'_>,
    mut active: Active,
    portion: Bytes,
) -> Result<(Active, Result<(), Refusal>), Refusal> {
    asked
        .block(move |app| {
            let result = active.write(&app.library, &portion);
            Ok((active, result))
        })
        .await
}
