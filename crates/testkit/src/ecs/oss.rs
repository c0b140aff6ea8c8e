//! OSS: buckets, objects, uploads in parts.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};

use super::http::Answer;
use super::{Call, Shared, lock, sign};
use crate::http::Request;

struct Upload {
    bucket: String,
    key: String,
    parts: BTreeMap<u64, Vec<u8>>,
}

#[derive(Default)]
pub(super) struct Oss {
    /// Region by name.
    buckets: BTreeMap<String, String>,
    objects: BTreeMap<(String, String), Vec<u8>>,
    uploads: BTreeMap<String, Upload>,
    counter: u32,
}

impl Oss {
    pub(super) fn object(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        self.objects.get(&(bucket.to_owned(), key.to_owned())).cloned()
    }

    pub(super) fn region_of(&self, bucket: &str) -> Option<String> {
        self.buckets.get(bucket).cloned()
    }

    pub(super) fn left(&self) -> Vec<String> {
        let objects = self.objects.keys().map(|(bucket, key)| format!("object oss://{bucket}/{key}"));
        let uploads = self.uploads.iter().map(|(id, it)| format!("upload {id} of oss://{}/{}", it.bucket, it.key));
        objects.chain(uploads).collect()
    }
}

/// Status, code; or status, headers, body.
type Said = Result<(u16, Vec<(String, String)>, String), (u16, &'static str)>;

pub(super) fn answer(request: &Request, number: usize, shared: &Arc<Shared>) -> Answer {
    let (bucket, key) =
        request.path.trim_start_matches('/').split_once('/').unwrap_or((request.path.trim_matches('/'), ""));
    let action = action(request, key);
    let said = match sign::oss(request) {
        Err((status, code)) => Err((status, code)),
        Ok(_) if lock(&shared.faults).throttled.contains(&number) => Err((503, "ServiceUnavailable")),
        Ok(region) => act(action, request, &region, bucket, key, &mut lock(&shared.state).oss),
    };
    let id = format!("DOUBLE-{number:04}");
    let (status, mut headers, body, code) = match said {
        Ok((status, headers, body)) => (status, headers, body, None),
        Err((status, code)) => {
            let body = format!(
                "<Error><Code>{code}</Code><Message>refused by the double</Message><RequestId>{id}</RequestId></Error>"
            );
            (status, Vec::new(), body, Some(code.to_owned()))
        }
    };
    headers.push(("x-oss-request-id".to_owned(), id));
    let call = Call {
        number,
        action: action.to_owned(),
        resource: if key.is_empty() { "bucket" } else { "object" }.to_owned(),
        id: request.path.trim_matches('/').to_owned(),
        code,
        parameters: request.query.clone(),
    };
    Answer { status, headers, body: body.into_bytes(), call: Some(call) }
}

fn action(request: &Request, key: &str) -> &'static str {
    let has = |name: &str| request.parameter(name).is_some();
    match (&*request.method, key.is_empty()) {
        ("GET", true) if has("bucketInfo") => "GetBucketInfo",
        ("GET", true) if has("uploads") => "ListMultipartUploads",
        ("PUT", true) => "PutBucket",
        ("DELETE", true) => "DeleteBucket",
        ("POST", false) if has("uploads") => "InitiateMultipartUpload",
        ("POST", false) => "CompleteMultipartUpload",
        ("PUT", false) => "UploadPart",
        ("GET", false) => "ListParts",
        ("DELETE", false) if has("uploadId") => "AbortMultipartUpload",
        ("DELETE", false) => "DeleteObject",
        _ => "Unknown",
    }
}

fn act(action: &str, request: &Request, region: &str, bucket: &str, key: &str, oss: &mut Oss) -> Said {
    let place = oss.buckets.get(bucket).cloned();
    let text = |body: String| Ok((200, Vec::new(), body));
    match (action, place) {
        ("GetBucketInfo", Some(place)) => text(format!(
            "<BucketInfo><Bucket><Name>{bucket}</Name><Location>oss-{place}</Location></Bucket></BucketInfo>"
        )),
        ("PutBucket", None) => {
            oss.buckets.insert(bucket.to_owned(), region.to_owned());
            text(String::new())
        }
        ("PutBucket", Some(_)) => Err((409, "BucketAlreadyExists")),
        (_, None) => Err((404, "NoSuchBucket")),
        ("DeleteBucket", _) if oss.objects.keys().any(|(of, _)| of == bucket) => Err((409, "BucketNotEmpty")),
        ("DeleteBucket", _) => {
            oss.buckets.remove(bucket);
            Ok((204, Vec::new(), String::new()))
        }
        // Of another region it is not to be had here.
        (_, Some(place)) if place != region => Err((403, "AccessDenied")),
        ("ListMultipartUploads", _) => {
            let prefix = request.parameter("prefix").unwrap_or_default();
            let all = oss.uploads.iter().filter(|(_, it)| it.bucket == bucket && it.key.starts_with(prefix));
            let one = |(id, it): (&String, &Upload)| {
                format!("<Upload><Key>{}</Key><UploadId>{id}</UploadId></Upload>", it.key)
            };
            let all: String = all.map(one).collect();
            text(format!("<ListMultipartUploadsResult>{all}</ListMultipartUploadsResult>"))
        }
        ("InitiateMultipartUpload", _) => {
            oss.counter += 1;
            let id = format!("UPLOAD{:04}", oss.counter);
            let upload = Upload { bucket: bucket.to_owned(), key: key.to_owned(), parts: BTreeMap::new() };
            oss.uploads.insert(id.clone(), upload);
            text(format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"))
        }
        ("DeleteObject", _) => {
            oss.objects.remove(&(bucket.to_owned(), key.to_owned()));
            Ok((204, Vec::new(), String::new()))
        }
        _ => of_upload(action, request, bucket, key, oss),
    }
}

fn of_upload(action: &str, request: &Request, bucket: &str, key: &str, oss: &mut Oss) -> Said {
    let id = request.parameter("uploadId").unwrap_or_default().to_owned();
    let Some(upload) = oss.uploads.get_mut(&id).filter(|it| it.bucket == bucket && it.key == key) else {
        return Err((404, "NoSuchUpload"));
    };
    match action {
        "UploadPart" => {
            let number: u64 =
                request.parameter("partNumber").and_then(|n| n.parse().ok()).ok_or((400, "InvalidArgument"))?;
            let sum = Md5::digest(&request.body);
            if request.header("content-md5") != STANDARD.encode(sum) {
                return Err((400, "InvalidDigest"));
            }
            upload.parts.insert(number, request.body.clone());
            Ok((200, vec![("ETag".to_owned(), format!("\"{}\"", tag(&request.body)))], String::new()))
        }
        "ListParts" => {
            let one = |(number, body): (&u64, &Vec<u8>)| {
                format!(
                    "<Part><PartNumber>{number}</PartNumber><ETag>\"{}\"</ETag><Size>{}</Size></Part>",
                    tag(body),
                    body.len()
                )
            };
            let all: String = upload.parts.iter().map(one).collect();
            Ok((200, Vec::new(), format!("<ListPartsResult>{all}<IsTruncated>false</IsTruncated></ListPartsResult>")))
        }
        "AbortMultipartUpload" => {
            oss.uploads.remove(&id);
            Ok((204, Vec::new(), String::new()))
        }
        "CompleteMultipartUpload" => {
            let wanted = String::from_utf8_lossy(&request.body);
            let whole = upload.parts.values().all(|body| wanted.contains(&tag(body)));
            if !whole || wanted.matches("<Part>").count() != upload.parts.len() {
                return Err((400, "InvalidPart"));
            }
            let place = (bucket.to_owned(), key.to_owned());
            if oss.objects.contains_key(&place) && request.header("x-oss-forbid-overwrite") == "true" {
                return Err((409, "FileAlreadyExists"));
            }
            let upload = oss.uploads.remove(&id).ok_or((404, "NoSuchUpload"))?;
            oss.objects.insert(place, upload.parts.into_values().flatten().collect());
            Ok((200, Vec::new(), "<CompleteMultipartUploadResult/>".to_owned()))
        }
        _ => Err((400, "InvalidArgument")),
    }
}

fn tag(body: &[u8]) -> String {
    sign::hex(&Md5::digest(body)).to_uppercase()
}
