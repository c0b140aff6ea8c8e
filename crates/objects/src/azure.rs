//! Azure Blob Storage: requests with a signature in the URL, a shared key or a token; uploads in blocks; listings.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::Method;
use url::Url;

use crate::call::{Ask, Core, Ready, endpoint, request_url};
use crate::client::Entry;
use crate::error::{Failure, ObjectError, lift};
use crate::get::object_path;
use crate::list::{MAX_PAGE, Page};
use crate::location::Location;
use crate::put::Upload;
use crate::shared_key::{Request, authorization};
use kiln_clouds::CloudError;
use kiln_clouds::credentials::azure::Finder;
use kiln_clouds::credentials::{Found, Fresh};
use kiln_clouds::percent;
use kiln_clouds::source::Part;
use kiln_clouds::transport::Payload;
use kiln_clouds::xml;
use kiln_http::Secret;

const VERSION: &str = "2021-12-02";
const ENDPOINT: &str = "AZURE_STORAGE_ENDPOINT";
const KEY: &str = "AZURE_STORAGE_ACCESS_KEY";
const SCOPE: &str = "https://storage.azure.com/.default";
/// Limits of the service.
const MAX_BLOCKS: u64 = 50_000;
const MAX_BLOCK: u64 = 4000 << 20;

/// How to identify.
pub(crate) enum Identity {
    /// The account's key, decoded.
    Key(Vec<u8>),
    /// An access token.
    Token(Secret),
}

impl Core {
    /// The account's key, else an access token of whoever this is.
    async fn identity(&self) -> Result<Fresh<Identity>, kiln_clouds::Failure> {
        let environment = &self.config.environment;
        if let Some(key) = environment.get(KEY) {
            let bad = |_| CloudError::Variable { variable: KEY, why: "it is not base64".to_owned() };
            return Ok((Found::Some(Identity::Key(STANDARD.decode(key).map_err(bad)?)), None));
        }
        let finder = Finder { transport: &self.transport, environment, scope: SCOPE };
        let (found, until) = finder.find().await?;
        let found = match found {
            Found::Some(token) => Found::Some(Identity::Token(token)),
            Found::None(looked) => {
                let mut places = vec!["the URL".to_owned(), KEY.to_owned()];
                places.extend(looked);
                Found::None(places)
            }
        };
        Ok((found, until))
    }

    pub(crate) fn azure_server(&self, account: &str, host: &str) -> Result<(Url, String), ObjectError> {
        let Some(text) = self.config.environment.get(ENDPOINT) else {
            return endpoint(ENDPOINT, &format!("https://{host}"));
        };
        let (url, prefix) = endpoint(ENDPOINT, text)?;
        match prefix.strip_prefix('/') {
            Some(other) if other != account => {
                let why = format!("it is for the account `{other}`, and the URL names `{account}`");
                Err(CloudError::Variable { variable: ENDPOINT, why }.into())
            }
            _ => Ok((url, prefix)),
        }
    }

    /// Completes a request: its host, and who asks.
    pub(crate) async fn azure_ready(
        &self,
        ask: &Ask<'_>,
        account: &str,
        host: &str,
        sas: Option<&Secret>,
    ) -> Result<Ready, Failure> {
        let (server, prefix) = self.azure_server(account, host)?;
        let path = format!("{prefix}{}", ask.path);
        let mut query = percent::query(&ask.query);
        let mut headers = ask.headers.clone();
        headers.push(("x-ms-version".to_owned(), VERSION.to_owned()));
        if let Some(sas) = sas {
            query = if query.is_empty() { sas.expose().to_owned() } else { format!("{query}&{}", sas.expose()) };
            let url = request_url(&server, &path, &query)?;
            return Ok(Ready { url, headers, looked: None, region: None });
        }
        let url = request_url(&server, &path, &query)?;
        let looked = match &*self.azure.get(self.identity()).await.map_err(lift)? {
            Found::None(looked) => Some(looked.clone()),
            Found::Some(Identity::Token(token)) => {
                headers.push(("authorization".to_owned(), format!("Bearer {}", token.expose())));
                None
            }
            Found::Some(Identity::Key(key)) => {
                headers.push(("x-ms-date".to_owned(), httpdate::fmt_http_date(SystemTime::now())));
                let mut signed = headers.clone();
                signed.push(("content-length".to_owned(), ask.payload.length().to_string()));
                let method = ask.method.as_str();
                let request = Request { method, account, path: &path, query: &ask.query, headers: &signed };
                headers.push(("authorization".to_owned(), authorization(&request, key)));
                None
            }
        };
        Ok(Ready { url, headers, looked, region: None })
    }

    /// Uploads a blob in one request, or in blocks.
    pub(crate) async fn azure_put(&self, upload: &Upload<'_>) -> Result<(), ObjectError> {
        let Upload { location, source, size, progress } = *upload;
        let path = object_path(location);
        if size <= self.config.multipart_above.min(MAX_BLOCK) {
            let ask = Ask::new(Method::PUT, location, path)
                .header("x-ms-blob-type", "BlockBlob")
                .header("content-type", "application/octet-stream")
                .payload(Payload::Part(Part { source, offset: 0, length: size }));
            self.call(&ask.progress(progress, 0)).await?;
            return Ok(());
        }
        let block = self.config.part_size.clamp(1, MAX_BLOCK).max(size.div_ceil(MAX_BLOCKS));
        if block > MAX_BLOCK {
            let limit = MAX_BLOCK * MAX_BLOCKS;
            return Err(ObjectError::TooLarge { what: location.to_string(), size, limit });
        }
        let mut list = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
        let (mut offset, mut number) = (0, 0u32);
        while offset < size {
            // All names of blocks must have one length.
            let id = STANDARD.encode(format!("kiln-{number:08}"));
            let length = block.min(size - offset);
            let ask = Ask::new(Method::PUT, location, path.clone())
                .query("comp", "block")
                .query("blockid", &*id)
                .payload(Payload::Part(Part { source, offset, length }));
            self.call(&ask.progress(progress, offset)).await?;
            list.push_str(&format!("<Latest>{id}</Latest>"));
            (offset, number) = (offset + length, number + 1);
        }
        list.push_str("</BlockList>");
        let ask = Ask::new(Method::PUT, location, path)
            .query("comp", "blocklist")
            .header("content-type", "application/xml")
            .header("x-ms-blob-content-type", "application/octet-stream")
            .payload(Payload::Bytes(Bytes::from(list)));
        self.call(&ask).await?;
        Ok(())
    }

    /// One page of a listing.
    pub(crate) async fn azure_page(&self, location: &Location, marker: Option<&str>) -> Result<Page, ObjectError> {
        let mut ask = Ask::new(Method::GET, location, format!("/{}", location.bucket()))
            .query("restype", "container")
            .query("comp", "list")
            .query("maxresults", "1000");
        if !location.key().is_empty() {
            ask = ask.query("prefix", location.key());
        }
        if let Some(marker) = marker {
            ask = ask.query("marker", marker);
        }
        let root = xml::parse(&self.document(&ask, MAX_PAGE).await?).map_err(|why| self.wrong(location, why))?;
        if root.name != "EnumerationResults" {
            return Err(self.wrong(location, "it is no listing"));
        }
        let mut entries = Vec::new();
        let blobs = root.child("Blobs").map(|blobs| &*blobs.children).unwrap_or_default();
        for blob in blobs.iter().filter(|child| child.name == "Blob") {
            let properties = blob.child("Properties");
            let text = |name: &str| properties.and_then(|p| p.text_of(name));
            let key = blob.child("Name").map(|name| name.text.clone());
            let size = text("Content-Length").and_then(|size| size.parse().ok());
            let (Some(key), Some(size)) = (key, size) else {
                return Err(self.wrong(location, "a blob of its listing has no name or size"));
            };
            let modified = text("Last-Modified").and_then(|date| httpdate::parse_http_date(date).ok());
            entries.push(Entry { key, size, etag: text("Etag").map(str::to_owned), modified });
        }
        Ok(Page { entries, next: root.text_of("NextMarker").map(str::to_owned) })
    }
}
