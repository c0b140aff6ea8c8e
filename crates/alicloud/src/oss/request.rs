//! One request to OSS, made again where that makes sense.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use kiln_clouds::source::Part;
use kiln_clouds::transport::{Parcel, Payload};
use kiln_clouds::xml::{self, Element};
use kiln_clouds::{date, percent};
use kiln_http::{Again, Failure, printable};
use reqwest::Method;
use url::{Host, Url};

use super::Oss;
use crate::client::answered;
use crate::sign::oss4;
use crate::wire::Heard;
use crate::{AlicloudError, Refusal, Result, Stop};

/// A request.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) bucket: &'a str,
    pub(super) key: &'a str,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Body<'a>,
    /// The call, in OSS's words.
    pub(super) what: &'static str,
}

/// What goes along.
#[derive(Clone)]
pub(super) enum Body<'a> {
    None,
    Text(String),
    Part(Part<'a>),
}

impl<'a> Ask<'a> {
    pub(super) fn new(what: &'static str, method: Method, bucket: &'a str, key: &'a str) -> Ask<'a> {
        Ask { method, bucket, key, query: Vec::new(), headers: Vec::new(), body: Body::None, what }
    }

    pub(super) fn query(mut self, name: &str, value: impl Into<String>) -> Ask<'a> {
        self.query.push((name.to_owned(), value.into()));
        self
    }

    pub(super) fn header(mut self, name: &str, value: impl Into<String>) -> Ask<'a> {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(super) fn body(mut self, body: Body<'a>) -> Ask<'a> {
        self.body = body;
        self
    }
}

impl Oss<'_> {
    /// Asks until there is an answer for good.
    pub(super) fn ask(&self, ask: &Ask<'_>, stop: Stop<'_>) -> Result<Heard> {
        let (heard, repeated) = answered(stop, || self.once(ask, stop))?;
        Ok(Heard { repeated, ..heard })
    }

    fn once(&self, ask: &Ask<'_>, stop: Stop<'_>) -> Result<Heard, Failure<AlicloudError>> {
        let wire = &self.client.wire;
        let keys = self.client.keychain.keys(wire, stop)?;
        let resource = match ask.key {
            "" => format!("/{}/", ask.bucket),
            key => format!("/{}/{key}", ask.bucket),
        };
        let date = date::compact(SystemTime::now());
        let request = oss4::Request {
            method: ask.method.as_str(),
            resource: &resource,
            query: &ask.query,
            headers: &ask.headers,
            region: self.client.region(),
            date: &date,
        };
        let headers = oss4::headers(&request, &keys);
        let headers = kiln_clouds::credentials::header_map(&headers).map_err(AlicloudError::from)?;
        let payload = match &ask.body {
            Body::None => Payload::None,
            Body::Text(text) => Payload::Bytes(Bytes::from(text.clone())),
            Body::Part(part) => Payload::Part(*part),
        };
        let url = self.address(ask)?;
        let method = ask.method.clone();
        let parcel = Parcel { method, url, headers, payload, what: ask.what, metadata: false, sent: &|_| {} };
        let heard = wire.ask(parcel, stop, Duration::ZERO)?;
        if (200..300).contains(&heard.status) {
            return Ok(heard);
        }
        let refusal = refusal(&heard);
        let again = match heard.status {
            408 | 429 | 500..=599 => Again::Soon,
            _ => Again::Never,
        };
        let action = format!("{} of oss://{}/{}", ask.what, ask.bucket, ask.key);
        Err(Failure { error: AlicloudError::Refused { action, refusal: Box::new(refusal) }, again })
    }

    /// The bucket is part of the host's name, but of an address in numbers part of the path.
    fn address(&self, ask: &Ask<'_>) -> Result<Url> {
        let usual = format!("https://oss-{}.aliyuncs.com", self.client.region());
        let told = self.client.wire.environment.get("ALICLOUD_OSS_ENDPOINT").unwrap_or(&usual);
        let mut url = crate::client::address(told, "ALICLOUD_OSS_ENDPOINT")?;
        let key = percent::path(ask.key);
        match url.host() {
            Some(Host::Domain(name)) if name != "localhost" => {
                let host = format!("{}.{name}", ask.bucket);
                let bad = || AlicloudError::setting(format!("`{}` cannot be the name of a bucket", ask.bucket), NAMES);
                url.set_host(Some(&host)).map_err(|_| bad())?;
                url.set_path(&format!("/{key}"));
            }
            _ => url.set_path(&format!("/{}/{key}", ask.bucket)),
        }
        let query = oss4::query(&ask.query);
        url.set_query(Some(&*query).filter(|query| !query.is_empty()));
        Ok(url)
    }
}

/// What buckets may be called.
pub(super) const NAMES: &str = "buckets have 3 to 63 small letters, digits and hyphens";

fn refusal(heard: &Heard) -> Refusal {
    let body = xml::parse(&heard.body).unwrap_or_default();
    let text = |name: &str| printable(body.text_of(name).unwrap_or_default());
    let header = heard.headers.get("x-oss-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    let request = Some(text("RequestId")).filter(|id| !id.is_empty()).unwrap_or_else(|| printable(header));
    Refusal { status: heard.status, code: text("Code"), message: text("Message"), request, repeated: false }
}

/// The document of an answer.
pub(super) fn document(heard: &Heard, what: &'static str) -> Result<Element> {
    xml::parse(&heard.body).map_err(|why| AlicloudError::Protocol { action: what.to_owned(), why: why.to_owned() })
}
