//! Google Cloud Storage, by its JSON interface: simple and resumable uploads, heads, listings.

use std::time::SystemTime;

use bytes::Bytes;
use reqwest::{Method, Response};
use serde::Deserialize;
use url::Url;

use crate::call::{Ask, Core, Ready, endpoint, request_url};
use crate::client::{Entry, Head};
use crate::config::Tokens;
use crate::error::{Failure, ObjectError, lift};
use crate::get::object_path;
use crate::list::{MAX_PAGE, Page};
use crate::location::Location;
use crate::put::{Open, Upload};
use kiln_clouds::CloudError;
use kiln_clouds::credentials::Found;
use kiln_clouds::credentials::google::Finder;
use kiln_clouds::date;
use kiln_clouds::percent;
use kiln_clouds::source::Part;
use kiln_clouds::transport::Payload;
use kiln_http::Secret;

const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_write";
const SERVER: &str = "https://storage.googleapis.com";
const EMULATOR: &str = "STORAGE_EMULATOR_HOST";
/// Limits of the service.
const MAX_OBJECT: u64 = 5 << 40;
const CHUNK_UNIT: u64 = 256 << 10;

/// An object's metadata. Numbers are texts.
#[derive(Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    size: serde_json::Value,
    etag: Option<String>,
    updated: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listing {
    #[serde(default)]
    items: Vec<Metadata>,
    next_page_token: Option<String>,
}

impl Metadata {
    fn size(&self) -> Option<u64> {
        match &self.size {
            serde_json::Value::String(text) => text.parse().ok(),
            number => number.as_u64(),
        }
    }

    fn modified(&self) -> Option<SystemTime> {
        self.updated.as_deref().and_then(date::parse_rfc3339)
    }
}

impl Core {
    pub(crate) fn gcs_server(&self) -> Result<(Url, String), ObjectError> {
        if let Some(server) = &self.config.google.server {
            return endpoint("the endpoint of storage", server);
        }
        match self.config.environment.get(EMULATOR) {
            // Google's own libraries take it with and without a scheme.
            Some(host) if !host.contains("://") => endpoint(EMULATOR, &format!("http://{host}")),
            Some(address) => endpoint(EMULATOR, address),
            None => endpoint(EMULATOR, SERVER),
        }
    }

    /// Completes a request: its host, and a token if there is one. An emulator is told none.
    pub(crate) async fn gcs_ready(&self, ask: &Ask<'_>) -> Result<Ready, Failure> {
        let environment = &self.config.environment;
        let (server, prefix) = self.gcs_server()?;
        let query = ask.verbatim.clone().unwrap_or_else(|| percent::query(&ask.query));
        let url = request_url(&server, &format!("{prefix}{}", ask.path), &query)?;
        let mut headers = ask.headers.clone();
        if let Some(tokens) = self.config.google.tokens.clone() {
            let token = self.google_token(tokens).await?;
            headers.push(("authorization".to_owned(), format!("Bearer {}", token.expose())));
            return Ok(Ready { url, headers, looked: None, region: None });
        }
        if environment.get(EMULATOR).is_some() {
            let looked = Some(vec![format!("any place, as {EMULATOR} is set")]);
            return Ok(Ready { url, headers, looked, region: None });
        }
        let finder = Finder { transport: &self.transport, environment, scope: SCOPE };
        let looked = match &*self.google.get(finder.find()).await.map_err(lift)? {
            Found::None(looked) => Some(looked.clone()),
            Found::Some(token) => {
                headers.push(("authorization".to_owned(), format!("Bearer {}", token.expose())));
                None
            }
        };
        Ok(Ready { url, headers, looked, region: None })
    }

    /// A token of whoever was given to ask. They may block, which is nothing for a thread of the network.
    async fn google_token(&self, tokens: Tokens) -> Result<Secret, ObjectError> {
        let failed =
            |why: String| CloudError::Credentials { cloud: "Google Cloud", place: "the caller".to_owned(), why };
        let got = tokio::task::spawn_blocking(move || tokens()).await.map_err(|e| failed(e.to_string()))?;
        Ok(got.map_err(failed)?)
    }

    pub(crate) async fn gcs_head(&self, location: &Location) -> Result<Head, ObjectError> {
        let body = self.document(&Ask::new(Method::GET, location, object_path(location)), MAX_PAGE).await?;
        let wrong = || self.wrong(location, "it is no metadata of an object");
        let metadata: Metadata = serde_json::from_slice(&body).map_err(|_| wrong())?;
        let size = metadata.size().ok_or_else(wrong)?;
        Ok(Head { size, modified: metadata.modified(), etag: metadata.etag })
    }

    /// One page of a listing.
    pub(crate) async fn gcs_page(&self, location: &Location, token: Option<&str>) -> Result<Page, ObjectError> {
        let path = format!("/storage/v1/b/{}/o", percent::component(location.bucket()));
        let mut ask = Ask::new(Method::GET, location, path)
            .query("prefix", location.key())
            .query("fields", "nextPageToken,items(name,size,etag,updated)");
        if let Some(token) = token {
            ask = ask.query("pageToken", token);
        }
        let wrong = || self.wrong(location, "it is no listing");
        let listing: Listing = serde_json::from_slice(&self.document(&ask, MAX_PAGE).await?).map_err(|_| wrong())?;
        let mut entries = Vec::new();
        for item in listing.items {
            let (size, modified) = (item.size().ok_or_else(wrong)?, item.modified());
            entries.push(Entry { key: item.name, size, etag: item.etag, modified });
        }
        Ok(Page { entries, next: listing.next_page_token })
    }

    /// Uploads an object in one request, or in chunks.
    pub(crate) async fn gcs_put(&self, upload: &Upload<'_>, open: &Open) -> Result<(), ObjectError> {
        let Upload { location, source, size, progress } = *upload;
        if size > MAX_OBJECT {
            return Err(ObjectError::TooLarge { what: location.to_string(), size, limit: MAX_OBJECT });
        }
        let path = format!("/upload/storage/v1/b/{}/o", percent::component(location.bucket()));
        let ask = Ask::new(Method::POST, location, path).query("name", location.key());
        if size <= self.config.multipart_above {
            let part = Payload::Part(Part { source, offset: 0, length: size });
            let ask = ask.query("uploadType", "media").header("content-type", "application/octet-stream");
            self.call(&ask.payload(part).progress(progress, 0)).await?;
            return Ok(());
        }
        let ask = ask
            .query("uploadType", "resumable")
            .header("content-type", "application/json; charset=UTF-8")
            .header("x-upload-content-type", "application/octet-stream")
            .header("x-upload-content-length", size.to_string())
            .payload(Payload::Bytes(Bytes::from_static(b"{}")));
        let response = self.call(&ask).await?;
        let session = self.gcs_session(&response, location)?;
        open.set(session.clone());
        self.gcs_chunks(upload, &session).await
    }

    /// The address of an upload, which must be on the same server: it gets the token, too.
    fn gcs_session(&self, response: &Response, location: &Location) -> Result<String, ObjectError> {
        let text = response.headers().get("location").and_then(|v| v.to_str().ok());
        let url = text.and_then(|text| response.url().join(text).ok());
        let url = url.ok_or_else(|| self.protocol(response, location, "it opens an upload without an address"))?;
        if url.origin() != response.url().origin() {
            return Err(self.protocol(response, location, "it opens an upload on another host"));
        }
        Ok(url.into())
    }

    /// A request to an upload: `range` is what follows `bytes ` in its `Content-Range`.
    fn gcs_ask<'a>(&self, location: &'a Location, session: &str, range: String) -> Result<Ask<'a>, ObjectError> {
        let wrong = || self.wrong(location, "the address of its upload cannot be used");
        let url = Url::parse(session).map_err(|_| wrong())?;
        let prefix = self.gcs_server()?.1;
        let path = url.path().strip_prefix(&*prefix).ok_or_else(wrong)?.to_owned();
        let mut ask = Ask::new(Method::PUT, location, path).also(&[308, 499]);
        ask.verbatim = Some(url.query().unwrap_or_default().to_owned());
        Ok(ask.header("content-range", format!("bytes {range}")))
    }

    async fn gcs_chunks(&self, upload: &Upload<'_>, session: &str) -> Result<(), ObjectError> {
        let Upload { location, source, size, progress } = *upload;
        let chunk = (self.config.part_size / CHUNK_UNIT).max(1) * CHUNK_UNIT;
        let (mut done, mut retry) = (0, self.retry());
        loop {
            let length = chunk.min(size - done);
            let end = done + length;
            let ask = self.gcs_ask(location, session, format!("{done}-{}/{size}", end - 1))?;
            let ask = ask.payload(Payload::Part(Part { source, offset: done, length })).progress(progress, done);
            let failure = match self.once(&ask).await {
                Ok(response) if response.status().is_success() => return Ok(()),
                Ok(response) => match self.gcs_arrived(&response, location, size)? {
                    arrived if arrived > done => {
                        done = arrived;
                        retry.progressed();
                        continue;
                    }
                    _ => Failure::soon(self.protocol(&response, location, "it keeps nothing of what is sent")),
                },
                Err(failure) => failure,
            };
            retry.pause(failure).await?;
            // How far did it come?
            let response = self.call(&self.gcs_ask(location, session, format!("*/{size}"))?).await?;
            if response.status().is_success() {
                return Ok(());
            }
            done = self.gcs_arrived(&response, location, size)?;
        }
    }

    /// How many bytes have arrived, by an answer 308.
    fn gcs_arrived(&self, response: &Response, location: &Location, size: u64) -> Result<u64, ObjectError> {
        let wrong = || self.protocol(response, location, "it does not say how much of an upload has arrived");
        if response.status().as_u16() != 308 {
            return Err(wrong());
        }
        let Some(range) = response.headers().get("range") else { return Ok(0) };
        let last = range.to_str().ok().and_then(|r| r.strip_prefix("bytes=0-")).and_then(|l| l.parse::<u64>().ok());
        last.filter(|last| *last < size - 1).map(|last| last + 1).ok_or_else(wrong)
    }

    /// Forgets an upload that was begun.
    pub(crate) async fn gcs_abandon(&self, location: &Location, session: &str) {
        let Ok(mut ask) = self.gcs_ask(location, session, "*/*".to_owned()) else { return };
        ask.method = Method::DELETE;
        ask.headers.clear();
        // Whether the service does is its own affair; what failed before is the error to tell.
        let _ = self.once(&ask).await;
    }
}
