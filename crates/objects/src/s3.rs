//! S3: where a bucket is, signed requests, uploads in parts, listings.
//!
//! A bucket is a part of the host's name (`BUCKET.s3.REGION.amazonaws.com`), or of the path where that cannot be: by
//! `S3_FORCE_PATH_STYLE=true`, for hosts that are addresses, and for names with dots or capitals, which no certificate
//! covers.

use std::sync::PoisonError;
use std::time::SystemTime;

use aws_lc_rs::digest;
use bytes::Bytes;
use reqwest::Method;
use url::{Host, Url};

use crate::call::{Ask, Core, Ready, endpoint, request_url};
use crate::client::Entry;
use crate::error::{Failure, ObjectError, lift};
use crate::list::{MAX_PAGE, Page};
use crate::location::Location;
use crate::put::{Open, Upload};
use kiln_clouds::CloudError;
use kiln_clouds::credentials::Found;
use kiln_clouds::credentials::aws::{Files, Finder, checked_region, domain};
use kiln_clouds::date;
use kiln_clouds::environ::Environment;
use kiln_clouds::percent;
use kiln_clouds::sign::sigv4::{Request, Signer};
use kiln_clouds::sign::{hex, sha256_hex};
use kiln_clouds::source::{PIECE, Part};
use kiln_clouds::transport::Payload;
use kiln_clouds::xml;
use kiln_http::connection::authority;

/// Limits of the protocol.
const MIN_PART: u64 = 5 << 20;
const MAX_PART: u64 = 5 << 30;
const MAX_PARTS: u64 = 10_000;
/// Where Amazon's buckets are, if nothing says otherwise; a redirect tells better.
const FIRST_REGION: &str = "us-east-1";

/// Where requests for a bucket go: the server, and what their paths begin with.
fn place(environment: &Environment, bucket: &str, region: &str) -> Result<(Url, String), ObjectError> {
    const STYLE: &str = "S3_FORCE_PATH_STYLE";
    let forced = match environment.get(STYLE).map(str::to_ascii_lowercase).as_deref() {
        None | Some("false" | "0") => false,
        Some("true" | "1") => true,
        Some(_) => {
            let why = "it is neither true nor false".to_owned();
            return Err(CloudError::Variable { variable: STYLE, why }.into());
        }
    };
    let (url, prefix) = match environment.first(&["S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]) {
        Some((variable, text)) => endpoint(variable, text)?,
        None => {
            let text = format!("https://s3.{region}.{}/", domain(region));
            (Url::parse(&text).map_err(|e| CloudError::Setup(e.to_string()))?, String::new())
        }
    };
    let label = bucket.len() <= 63 && bucket.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    let name = match url.host() {
        Some(Host::Domain(name)) if label && !forced && name != "localhost" => name.to_owned(),
        _ => return Ok((url, format!("{prefix}/{bucket}"))),
    };
    let mut own = url;
    own.set_host(Some(&format!("{bucket}.{name}"))).map_err(|e| CloudError::Setup(e.to_string()))?;
    Ok((own, prefix))
}

/// SHA-256 of what is sent, in hex. A part is read for it once, and again to send it: the store compares.
fn payload_hash(payload: &Payload<'_>, what: &str) -> Result<String, ObjectError> {
    match payload {
        Payload::None => Ok(sha256_hex(b"")),
        Payload::Bytes(bytes) => Ok(sha256_hex(bytes)),
        Payload::Part(part) => {
            let mut context = digest::Context::new(&digest::SHA256);
            for done in (0..part.length).step_by(PIECE) {
                let piece = part.piece(done);
                context.update(&piece.map_err(|source| CloudError::Source { what: what.to_owned(), source })?);
            }
            Ok(hex(context.finish().as_ref()))
        }
    }
}

impl Core {
    /// The region a bucket is in, as far as is known.
    fn region_of(&self, bucket: &str) -> Result<String, ObjectError> {
        let known = self.regions.lock().unwrap_or_else(PoisonError::into_inner).get(bucket).cloned();
        if let Some(region) = known {
            return Ok(region);
        }
        if let Some(region) = self.home_region.get() {
            return Ok(region.clone());
        }
        let environment = &self.config.environment;
        let region = match environment.first(&["AWS_REGION", "AWS_DEFAULT_REGION"]) {
            Some((variable, region)) => checked_region(variable, region)?.to_owned(),
            None => match Files::read(environment)?.region() {
                Some(region) => checked_region("AWS_CONFIG_FILE", region)?.to_owned(),
                None => FIRST_REGION.to_owned(),
            },
        };
        Ok(self.home_region.get_or_init(|| region).clone())
    }

    /// Where requests for a bucket go, as far as is known.
    pub(crate) fn s3_server(&self, bucket: &str) -> Result<(Url, String), ObjectError> {
        place(&self.config.environment, bucket, &self.region_of(bucket)?)
    }

    /// Completes a request: its host, and a signature if there are keys.
    pub(crate) async fn s3_ready(&self, ask: &Ask<'_>, bucket: &str) -> Result<Ready, Failure> {
        let environment = &self.config.environment;
        let region = self.region_of(bucket)?;
        let (server, prefix) = place(environment, bucket, &region)?;
        let (path, query) = (format!("{prefix}{}", ask.path), percent::query(&ask.query));
        let url = request_url(&server, &path, &query)?;
        let finder = Finder { transport: &self.transport, environment };
        let found = self.aws.get(finder.find()).await.map_err(lift)?;
        let mut headers = ask.headers.clone();
        let keys = match &*found {
            Found::Some(keys) => keys,
            Found::None(looked) => {
                return Ok(Ready { url, headers, looked: Some(looked.clone()), region: Some(region) });
            }
        };
        let time = SystemTime::now();
        let payload = payload_hash(&ask.payload, &ask.location.to_string())?;
        headers.push(("x-amz-date".to_owned(), date::compact(time)));
        headers.push(("x-amz-content-sha256".to_owned(), payload.clone()));
        if let Some(session) = &keys.session {
            headers.push(("x-amz-security-token".to_owned(), session.expose().to_owned()));
        }
        let mut signed = headers.clone();
        signed.push(("host".to_owned(), authority(&url)));
        let signer = Signer { key_id: &keys.id, secret: &keys.secret, region: &region, service: "s3", time };
        let method = ask.method.as_str();
        let request = Request { method, path: &path, query: &query, headers: &signed, payload: &payload };
        headers.push(("authorization".to_owned(), signer.authorization(&request)));
        Ok(Ready { url, headers, looked: None, region: Some(region) })
    }

    /// Uploads an object in one request, or in parts.
    pub(crate) async fn s3_put(&self, upload: &Upload<'_>, open: &Open) -> Result<(), ObjectError> {
        let Upload { location, source, size, progress } = *upload;
        let path = format!("/{}", percent::path(location.key()));
        if size <= self.config.multipart_above {
            let part = Payload::Part(Part { source, offset: 0, length: size });
            self.call(&Ask::new(Method::PUT, location, path).payload(part).progress(progress, 0)).await?;
            return Ok(());
        }
        let part = self.config.part_size.clamp(MIN_PART, MAX_PART).max(size.div_ceil(MAX_PARTS));
        if part > MAX_PART {
            let limit = MAX_PART * MAX_PARTS;
            return Err(ObjectError::TooLarge { what: location.to_string(), size, limit });
        }
        let ask = Ask::new(Method::POST, location, path.clone()).query("uploads", "");
        let body = self.document(&ask, MAX_PAGE).await?;
        let host_error = |why: &str| self.wrong(location, why);
        let root = xml::parse(&body).map_err(host_error)?;
        let id = root.text_of("UploadId").filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| host_error("it opens an upload without a name"))?.to_owned();
        open.set(id.clone());
        let mut list = String::from("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
        for (number, offset) in (1u64..).zip((0..size).step_by(usize::try_from(part).unwrap_or(usize::MAX))) {
            let length = part.min(size - offset);
            let etag = self.s3_part(upload, &path, &id, number, Part { source, offset, length }).await?;
            let etag = xml::escape(&etag);
            list.push_str(&format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"));
        }
        list.push_str("</CompleteMultipartUpload>");
        self.s3_complete(location, path, id, list).await
    }

    async fn s3_part(
        &self,
        upload: &Upload<'_>,
        path: &str,
        id: &str,
        number: u64,
        part: Part<'_>,
    ) -> Result<String, ObjectError> {
        let ask = Ask::new(Method::PUT, upload.location, path.to_owned())
            .query("partNumber", number.to_string())
            .query("uploadId", id)
            .payload(Payload::Part(part))
            .progress(upload.progress, part.offset);
        let response = self.call(&ask).await?;
        let etag = response.headers().get("etag").and_then(|v| v.to_str().ok()).map(str::to_owned);
        etag.ok_or_else(|| self.protocol(&response, upload.location, "a part has no ETag"))
    }

    /// Puts the parts together. A failure of this may come with status 200, while the store is at work already.
    async fn s3_complete(
        &self,
        location: &Location,
        path: String,
        id: String,
        list: String,
    ) -> Result<(), ObjectError> {
        let ask =
            Ask::new(Method::POST, location, path).query("uploadId", id).payload(Payload::Bytes(Bytes::from(list)));
        let mut retry = self.retry();
        loop {
            let body = self.document(&ask, MAX_PAGE).await?;
            let root = xml::parse(&body).map_err(|why| self.wrong(location, why))?;
            if root.name != "Error" {
                return Ok(());
            }
            let answer = kiln_clouds::answer::parse(200, &body).answer;
            let passing = matches!(&*answer.code, "InternalError" | "SlowDown" | "ServiceUnavailable");
            let error = ObjectError::Refused { host: self.host_of(location), what: location.to_string(), answer };
            retry.pause(if passing { Failure::soon(error) } else { error.into() }).await?;
        }
    }

    /// Forgets an upload that was begun.
    pub(crate) async fn s3_abandon(&self, location: &Location, id: &str) {
        let path = format!("/{}", percent::path(location.key()));
        let ask = Ask::new(Method::DELETE, location, path).query("uploadId", id);
        // Whether the store does is its own affair; what failed before is the error to tell.
        let _ = self.once(&ask).await;
    }

    /// One page of a listing.
    pub(crate) async fn s3_page(&self, location: &Location, token: Option<&str>) -> Result<Page, ObjectError> {
        let mut ask = Ask::new(Method::GET, location, "/".to_owned())
            .query("list-type", "2")
            .query("encoding-type", "url")
            .query("prefix", location.key());
        if let Some(token) = token {
            ask = ask.query("continuation-token", token);
        }
        let root = xml::parse(&self.document(&ask, MAX_PAGE).await?).map_err(|why| self.wrong(location, why))?;
        if root.name != "ListBucketResult" {
            return Err(self.wrong(location, "it is no listing"));
        }
        let encoded = root.text_of("EncodingType") == Some("url");
        let mut entries = Vec::new();
        for item in root.children.iter().filter(|child| child.name == "Contents") {
            let raw = item.child("Key").map_or("", |key| &*key.text);
            let key = if encoded { percent::decode(&raw.replace('+', " ")) } else { Some(raw.to_owned()) };
            let size = item.text_of("Size").and_then(|size| size.parse().ok());
            let (Some(key), Some(size)) = (key, size) else {
                return Err(self.wrong(location, "an object of its listing has no key or size"));
            };
            let etag = item.text_of("ETag").map(str::to_owned);
            entries.push(Entry {
                key,
                size,
                etag,
                modified: item.text_of("LastModified").and_then(date::parse_rfc3339),
            });
        }
        let more = root.text_of("IsTruncated") == Some("true");
        let next = root.text_of("NextContinuationToken").filter(|_| more).map(str::to_owned);
        Ok(Page { entries, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(environment: &Environment, bucket: &str, region: &str) -> String {
        let (url, prefix) = place(environment, bucket, region).unwrap();
        format!("{}://{}{prefix}", url.scheme(), authority(&url))
    }

    #[test]
    fn where_buckets_are() {
        let none = Environment::empty();
        assert_eq!(at(&none, "buck-et", "eu-west-1"), "https://buck-et.s3.eu-west-1.amazonaws.com");
        assert_eq!(at(&none, "buck.et", "eu-west-1"), "https://s3.eu-west-1.amazonaws.com/buck.et");
        assert_eq!(at(&none, "Bucket", "cn-north-1"), "https://s3.cn-north-1.amazonaws.com.cn/Bucket");
        let minio = Environment::empty().with("S3_ENDPOINT", "http://minio:9000/");
        assert_eq!(at(&minio, "bucket", "x"), "http://bucket.minio:9000");
        assert_eq!(at(&minio.with("S3_FORCE_PATH_STYLE", "TRUE"), "bucket", "x"), "http://minio:9000/bucket");
        let address = Environment::empty().with("AWS_ENDPOINT_URL", "http://127.0.0.1:9000/base");
        assert_eq!(at(&address, "bucket", "x"), "http://127.0.0.1:9000/base/bucket");
        let bad = Environment::empty().with("S3_FORCE_PATH_STYLE", "yes");
        assert!(place(&bad, "bucket", "x").unwrap_err().to_string().contains("S3_FORCE_PATH_STYLE"));
    }
}
