//! A file as an object, in parts: each has its MD5, may be sent again, and is not sent if it is already there.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kiln_clouds::sign::hex;
use kiln_clouds::source::{Part, Source};
use kiln_clouds::xml::Element;
use md5::{Digest, Md5};
use reqwest::Method;

use super::Oss;
use super::request::{Ask, Body, document};
use crate::{AlicloudError, Result, Stop};

/// The size of a part, if it is not said.
pub const PART: u64 = 16 << 20;
/// More parts no object has.
const MOST: u64 = 10_000;
/// Parts that are sent at once.
const AT_ONCE: usize = 3;

/// What is uploaded.
pub struct Upload<'a> {
    /// Where to.
    pub bucket: &'a str,
    /// As what.
    pub key: &'a str,
    /// What.
    pub source: &'a dyn Source,
    /// How much.
    pub size: u64,
    /// In parts of this size; larger ones if there were too many.
    pub part: u64,
}

impl Upload<'_> {
    fn part_size(&self) -> u64 {
        let least = self.size.div_ceil(MOST).next_multiple_of(1 << 20);
        self.part.max(100 << 10).max(if self.size > self.part.saturating_mul(MOST) { least } else { 0 })
    }
}

/// A part that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct There {
    size: u64,
    tag: String,
}

impl Oss<'_> {
    /// Uploads to this key that were begun and not ended.
    ///
    /// # Errors
    /// Those of the request.
    pub fn uploads(&self, bucket: &str, key: &str, stop: Stop<'_>) -> Result<Vec<String>> {
        const WHAT: &str = "ListMultipartUploads";
        let ask = Ask::new(WHAT, Method::GET, bucket, "").query("uploads", "").query("prefix", key);
        let document = document(&self.ask(&ask, stop)?, WHAT)?;
        let all = document.children.iter().filter(|child| child.name == "Upload");
        let ours = all.filter(|upload| upload.text_of("Key") == Some(key));
        Ok(ours.filter_map(|upload| upload.text_of("UploadId").map(str::to_owned)).collect())
    }

    /// Begins an upload: its id, and whether another one may have been begun by a call whose answer was lost.
    ///
    /// # Errors
    /// Those of the request.
    pub fn initiate(&self, bucket: &str, key: &str, stop: Stop<'_>) -> Result<(String, bool)> {
        const WHAT: &str = "InitiateMultipartUpload";
        let ask = Ask::new(WHAT, Method::POST, bucket, key).query("uploads", "");
        let heard = self.ask(&ask, stop)?;
        let document = document(&heard, WHAT)?;
        let id = document.text_of("UploadId").filter(|id| !id.is_empty());
        let id = id.map(|id| (id.to_owned(), heard.repeated));
        id.ok_or_else(|| AlicloudError::Protocol { action: WHAT.to_owned(), why: "it has no UploadId".to_owned() })
    }

    /// Gives an upload up.
    ///
    /// # Errors
    /// Those of the request.
    pub fn abort(&self, bucket: &str, key: &str, id: &str, stop: Stop<'_>) -> Result<()> {
        self.ask(&Ask::new("AbortMultipartUpload", Method::DELETE, bucket, key).query("uploadId", id), stop).map(drop)
    }

    fn parts(&self, bucket: &str, key: &str, id: &str, stop: Stop<'_>) -> Result<BTreeMap<u64, There>> {
        const WHAT: &str = "ListParts";
        let (mut all, mut marker) = (BTreeMap::new(), String::new());
        loop {
            let ask = Ask::new(WHAT, Method::GET, bucket, key).query("uploadId", id);
            let ask = if marker.is_empty() { ask } else { ask.query("part-number-marker", &*marker) };
            let document = document(&self.ask(&ask, stop)?, WHAT)?;
            let before = all.len();
            all.extend(document.children.iter().filter(|child| child.name == "Part").filter_map(part));
            let more = document.text_of("IsTruncated") == Some("true");
            match document.text_of("NextPartNumberMarker") {
                Some(next) if more && all.len() > before => marker = next.to_owned(),
                _ => return Ok(all),
            }
        }
    }

    /// Sends what is missing of an upload, and tells how many bytes of all are there.
    ///
    /// # Errors
    /// Those of the requests, and of reading.
    pub fn send(
        &self,
        upload: &Upload<'_>,
        id: &str,
        told: &(dyn Fn(u64) + Sync),
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<String>> {
        let there = self.parts(upload.bucket, upload.key, id, stop)?;
        let size = upload.part_size();
        let count = upload.size.div_ceil(size).max(1);
        let (next, done, failed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        let results: Mutex<BTreeMap<u64, Result<String>>> = Mutex::default();
        let over = || stop() || failed.load(Ordering::Relaxed);
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(usize::try_from(count).unwrap_or(AT_ONCE)) {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= count || over() {
                            return;
                        }
                        let offset = index * size;
                        let part = Part { source: upload.source, offset, length: size.min(upload.size - offset) };
                        let result = self.send_part(upload, id, index + 1, part, there.get(&(index + 1)), &over);
                        match &result {
                            Ok(_) => told(done.fetch_add(part.length, Ordering::Relaxed) + part.length),
                            Err(_) => failed.store(true, Ordering::Relaxed),
                        }
                        results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(index, result);
                    }
                });
            }
        });
        if stop() {
            return Err(AlicloudError::Cancelled);
        }
        let results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        // The others were only stopped by the one that failed.
        let (mut tags, mut stopped) = (Vec::new(), false);
        for result in results.into_values() {
            match result {
                Err(AlicloudError::Cancelled) => stopped = true,
                other => tags.push(other?),
            }
        }
        if stopped { Err(AlicloudError::Cancelled) } else { Ok(tags) }
    }

    fn send_part(
        &self,
        upload: &Upload<'_>,
        id: &str,
        number: u64,
        part: Part<'_>,
        there: Option<&There>,
        stop: Stop<'_>,
    ) -> Result<String> {
        const WHAT: &str = "UploadPart";
        let sum = sum(&part)?;
        let tag = hex(&sum).to_ascii_uppercase();
        if there.is_some_and(|there| there.size == part.length && there.tag == tag) {
            return Ok(tag);
        }
        let ask = Ask::new(WHAT, Method::PUT, upload.bucket, upload.key)
            .query("partNumber", number.to_string())
            .query("uploadId", id)
            .header("content-md5", STANDARD.encode(sum))
            .body(Body::Part(part));
        let heard = self.ask(&ask, stop)?;
        let said = heard.headers.get("etag").and_then(|tag| tag.to_str().ok()).unwrap_or_default();
        match bare(said) == tag {
            true => Ok(tag),
            false => {
                let why = format!("part {number} has another MD5 there than here");
                Err(AlicloudError::Protocol { action: WHAT.to_owned(), why })
            }
        }
    }

    /// Ends an upload: the object is there from then on. One that is there already is never replaced.
    ///
    /// # Errors
    /// Those of the request.
    pub fn complete(&self, bucket: &str, key: &str, id: &str, tags: &[String], stop: Stop<'_>) -> Result<()> {
        let parts = tags.iter().enumerate().map(|(n, tag)| {
            let number = n + 1;
            format!("<Part><PartNumber>{number}</PartNumber><ETag>\"{tag}\"</ETag></Part>")
        });
        let text = format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", parts.collect::<String>());
        let ask = Ask::new("CompleteMultipartUpload", Method::POST, bucket, key)
            .query("uploadId", id)
            .header("content-type", "application/xml")
            .header("x-oss-forbid-overwrite", "true")
            .body(Body::Text(text));
        match self.ask(&ask, stop) {
            Err(error)
                if error.refusal().is_some_and(|r| r.repeated && r.is(&["NoSuchUpload", "FileAlreadyExists"])) =>
            {
                Ok(())
            }
            other => other.map(drop),
        }
    }
}

fn part(element: &Element) -> Option<(u64, There)> {
    let number = element.text_of("PartNumber")?.parse().ok()?;
    let size = element.text_of("Size")?.parse().ok()?;
    Some((number, There { size, tag: bare(element.text_of("ETag")?) }))
}

fn bare(tag: &str) -> String {
    tag.trim().trim_matches('"').to_ascii_uppercase()
}

fn sum(part: &Part<'_>) -> Result<Vec<u8>> {
    let (mut hash, mut done) = (Md5::new(), 0);
    while done < part.length {
        let piece =
            part.piece(done).map_err(|source| kiln_clouds::CloudError::Source { what: "a part".to_owned(), source })?;
        hash.update(&piece);
        done += piece.len() as u64;
    }
    Ok(hash.finalize().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_large_enough_for_the_whole() {
        let size = |size: u64, part: u64| Upload { bucket: "b", key: "k", source: &Vec::new(), size, part }.part_size();
        assert_eq!(size(1, PART), PART);
        assert_eq!(size(1, 1), 100 << 10);
        let large = 1 << 40;
        assert!(large / size(large, PART) <= MOST);
        assert_eq!(bare("\"abc\""), "ABC");
    }
}
