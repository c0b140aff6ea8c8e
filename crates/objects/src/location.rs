//! Addresses of objects: `s3://BUCKET/KEY`, `gs://BUCKET/OBJECT`, `https://ACCOUNT.blob.core.windows.net/CONTAINER/BLOB`.

use std::fmt;

use url::Url;

use kiln_clouds::percent;
use kiln_http::Secret;

/// Longest key of S3 and Google, and longest blob name of Azure, in bytes.
const MAX_KEY: usize = 1024;

/// Hosts of Azure's clouds, after the account.
const AZURE_HOSTS: [&str; 4] =
    ["blob.core.windows.net", "blob.core.chinacloudapi.cn", "blob.core.usgovcloudapi.net", "blob.core.cloudapi.de"];

/// Where an object is. Shows no signature.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Location {
    /// In Amazon's S3, or a server that speaks its protocol.
    S3 {
        /// The bucket.
        bucket: String,
        /// The key, as it is, without encoding.
        key: String,
    },
    /// In Google Cloud Storage.
    Gcs {
        /// The bucket.
        bucket: String,
        /// The object's name, as it is.
        object: String,
    },
    /// In Azure Blob Storage.
    Azure {
        /// The storage account.
        account: String,
        /// The host, such as `ACCOUNT.blob.core.windows.net`.
        host: String,
        /// The container.
        container: String,
        /// The blob's name, as it is.
        blob: String,
        /// The shared access signature: the query of the URL.
        sas: Option<Secret>,
    },
}

/// Why a text is no address of an object, although it begins like one. Never quotes what may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// There is nothing where the bucket or container should be.
    #[error("`{0}` names no bucket or container")]
    MissingBucket(String),
    /// There is nothing after the bucket.
    #[error("`{0}` names no object")]
    EmptyKey(String),
    /// The bucket, container or account has a name that there cannot be.
    #[error("`{name}` is no name of a bucket, container or account: {why}")]
    BadBucket {
        /// The name.
        name: String,
        /// The rule it breaks.
        why: &'static str,
    },
    /// The address holds what looks like a user and a password.
    #[error("an address beginning with `{0}` must not hold a user or password")]
    Login(&'static str),
    /// The object has a name that there cannot be, or that Kiln refuses.
    #[error("the object's name in `{place}` {why}")]
    BadKey {
        /// Scheme and bucket.
        place: String,
        /// The rule it breaks.
        why: &'static str,
    },
    /// It is no URL at all.
    #[error("`{0}` is not a URL")]
    NotUrl(String),
}

impl LocationError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            LocationError::Login(_) => {
                "give credentials by the environment or the files of the cloud's own tools".to_owned()
            }
            _ => "write s3://BUCKET/KEY, gs://BUCKET/OBJECT or https://ACCOUNT.blob.core.windows.net/CONTAINER/BLOB"
                .to_owned(),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::S3 { bucket, key } => write!(f, "s3://{bucket}/{key}"),
            Location::Gcs { bucket, object } => write!(f, "gs://{bucket}/{object}"),
            Location::Azure { host, container, blob, .. } => {
                write!(f, "https://{host}/{container}/{}", percent::path(blob))
            }
        }
    }
}

impl Location {
    /// The place a URL names, or `None` if the URL is of another kind: `https://example.com/x.tar` is one.
    ///
    /// # Errors
    /// URLs that are of these kinds and wrong.
    pub fn parse(text: &str) -> Result<Option<Location>, LocationError> {
        parse(text, false)
    }

    /// Like [`parse`](Location::parse), for listing: the key is the beginning of keys and may be empty.
    ///
    /// # Errors
    /// URLs that are of these kinds and wrong.
    pub fn parse_prefix(text: &str) -> Result<Option<Location>, LocationError> {
        parse(text, true)
    }

    /// The key, object or blob.
    pub fn key(&self) -> &str {
        match self {
            Location::S3 { key, .. } => key,
            Location::Gcs { object, .. } => object,
            Location::Azure { blob, .. } => blob,
        }
    }

    /// The bucket or container.
    pub fn bucket(&self) -> &str {
        match self {
            Location::S3 { bucket, .. } | Location::Gcs { bucket, .. } => bucket,
            Location::Azure { container, .. } => container,
        }
    }

    /// The same store and bucket with another key.
    ///
    /// # Errors
    /// A key that there cannot be.
    pub fn with_key(&self, key: &str) -> Result<Location, LocationError> {
        if key.is_empty() {
            return Err(LocationError::EmptyKey(self.to_string()));
        }
        check_key(key, || self.bucket().to_owned())?;
        let mut other = self.clone();
        match &mut other {
            Location::S3 { key: k, .. } => k,
            Location::Gcs { object, .. } => object,
            Location::Azure { blob, .. } => blob,
        }
        .replace_range(.., key);
        Ok(other)
    }
}

fn parse(text: &str, prefix: bool) -> Result<Option<Location>, LocationError> {
    let rest = |scheme: &str| {
        let (head, rest) = text.split_at_checked(scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    if let Some(rest) = rest("s3://") {
        let (bucket, key) = split("s3://", rest, prefix, check_s3_bucket)?;
        return Ok(Some(Location::S3 { bucket, key }));
    }
    if let Some(rest) = rest("gs://") {
        let (bucket, object) = split("gs://", rest, prefix, check_gcs_bucket)?;
        return Ok(Some(Location::Gcs { bucket, object }));
    }
    if rest("https://").is_some() { azure(text, prefix) } else { Ok(None) }
}

/// Bucket and key of what follows the scheme. Both are taken as they are: these are no URLs in which `%` or `?` means
/// anything, but how the clouds' own tools write keys.
fn split(
    scheme: &'static str,
    rest: &str,
    prefix: bool,
    check: fn(&str) -> Result<(), &'static str>,
) -> Result<(String, String), LocationError> {
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.contains(['@', ':']) {
        return Err(LocationError::Login(scheme));
    }
    if bucket.is_empty() {
        return Err(LocationError::MissingBucket(scheme.to_owned()));
    }
    check(bucket).map_err(|why| LocationError::BadBucket { name: shown(bucket), why })?;
    let place = || format!("{scheme}{bucket}/");
    if key.is_empty() && !prefix {
        return Err(LocationError::EmptyKey(place()));
    }
    check_key(key, place)?;
    Ok((bucket.to_owned(), key.to_owned()))
}

fn azure(text: &str, prefix: bool) -> Result<Option<Location>, LocationError> {
    // Before the query, which may be a signature.
    let visible = text.split(['?', '#']).next().unwrap_or_default();
    let authority = visible["https://".len()..].split('/').next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_ascii_lowercase();
    let Some((account, domain)) = host.trim_end_matches(":443").split_once('.') else { return Ok(None) };
    if !AZURE_HOSTS.contains(&domain) {
        return Ok(None);
    }
    if authority.contains('@') {
        return Err(LocationError::Login("https://"));
    }
    let url = Url::parse(text).map_err(|_| LocationError::NotUrl(shown(visible)))?;
    check_account(account).map_err(|why| LocationError::BadBucket { name: shown(account), why })?;
    // Not of `url`, which has resolved `..` already.
    let path = visible["https://".len() + authority.len()..].trim_start_matches('/');
    let (container, blob) = path.split_once('/').unwrap_or((path, ""));
    let place = || format!("https://{host}/{container}/");
    if container.is_empty() {
        return Err(LocationError::MissingBucket(format!("https://{host}/")));
    }
    check_container(container).map_err(|why| LocationError::BadBucket { name: shown(container), why })?;
    let blob = percent::decode(blob)
        .ok_or_else(|| LocationError::BadKey { place: place(), why: "is not percent-encoded UTF-8" })?;
    if blob.is_empty() && !prefix {
        return Err(LocationError::EmptyKey(place()));
    }
    check_key(&blob, place)?;
    let sas = url.query().filter(|q| !q.is_empty()).map(Secret::new);
    let (account, container) = (account.to_owned(), container.to_owned());
    Ok(Some(Location::Azure { account, host: format!("{}.{domain}", url_account(&host)), container, blob, sas }))
}

fn url_account(host: &str) -> &str {
    host.split('.').next().unwrap_or_default()
}

fn check_key(key: &str, place: impl Fn() -> String) -> Result<(), LocationError> {
    let bad = |why| Err(LocationError::BadKey { place: place(), why });
    if key.len() > MAX_KEY {
        return bad("is longer than 1024 bytes");
    }
    if key.chars().any(char::is_control) {
        return bad("has control characters");
    }
    // Stores allow them; clients and proxies on the way resolve them, so that another object would be named.
    if key.split('/').any(|part| matches!(part, "." | "..")) {
        return bad("has `.` or `..` between slashes");
    }
    if key.starts_with('/') {
        return bad("begins with a slash");
    }
    Ok(())
}

fn check_bucket(name: &str, lengths: std::ops::RangeInclusive<usize>, more: &str) -> Result<(), &'static str> {
    if !lengths.contains(&name.len()) {
        return Err("it is too short or too long");
    }
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c)) {
        return Err("it has other characters than letters, digits and a few marks");
    }
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if !edge(name.chars().next()) || !edge(name.chars().last()) || name.contains("..") {
        return Err("it begins or ends with a mark, or has `..`");
    }
    Ok(())
}

/// Upper case and `_` are of old buckets and of other servers.
fn check_s3_bucket(name: &str) -> Result<(), &'static str> {
    check_bucket(name, 3..=255, "-._")
}

fn check_gcs_bucket(name: &str) -> Result<(), &'static str> {
    check_bucket(name, 3..=222, "-._")
}

fn check_account(name: &str) -> Result<(), &'static str> {
    check_bucket(name, 3..=24, "")
}

fn check_container(name: &str) -> Result<(), &'static str> {
    // `$web`, `$root` and `$logs` are made by the service.
    check_bucket(name.strip_prefix('$').unwrap_or(name), 3..=63, "-")
}

/// A name from outside, short and without control characters.
fn shown(text: &str) -> String {
    kiln_http::printable(text).chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(text: &str) -> Location {
        Location::parse(text).unwrap().unwrap()
    }

    #[test]
    fn the_three_kinds() {
        assert_eq!(
            ok("s3://my-bucket/a b/%20?x#y.tar"),
            Location::S3 { bucket: "my-bucket".into(), key: "a b/%20?x#y.tar".into() }
        );
        assert_eq!(
            ok("GS://b_1.example.com/o//p/"),
            Location::Gcs { bucket: "b_1.example.com".into(), object: "o//p/".into() }
        );
        let azure = ok("https://Acct1.blob.core.windows.net/ctx/dir/a%20b%2Bc.tar.gz?sv=1&sig=hunter2");
        assert_eq!(azure.to_string(), "https://acct1.blob.core.windows.net/ctx/dir/a%20b%2Bc.tar.gz");
        assert!(!format!("{azure:?}").contains("hunter2"));
        let Location::Azure { account, blob, sas, .. } = azure else { panic!("another kind") };
        assert_eq!((&*account, &*blob, sas.unwrap().expose()), ("acct1", "dir/a b+c.tar.gz", "sv=1&sig=hunter2"));
    }

    #[test]
    fn other_urls_are_not_ours() {
        for other in [
            "",
            "/tmp/s3",
            "dir://s3",
            "s3:/b/k",
            "https://example.com/a/b",
            "https://blob.core.windows.net.evil.example/a/b",
            "https://acct.blob.core.windows.net.evil.example/a/b",
            "http://acct.blob.core.windows.net/a/b",
            "https://",
            "ü",
        ] {
            assert_eq!(Location::parse(other), Ok(None), "{other}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, want) in [
            ("s3://", "names no bucket"),
            ("s3:///key", "names no bucket"),
            ("s3://bucket", "names no object"),
            ("s3://bucket/", "names no object"),
            ("s3://ab/key", "too short"),
            ("s3://bu cket/key", "other characters"),
            ("s3://-bucket/key", "begins or ends"),
            ("s3://bu..cket/key", "`..`"),
            ("s3://bucket//key", "begins with a slash"),
            ("s3://bucket/a/../b", "`.` or `..`"),
            ("s3://bucket/..", "`.` or `..`"),
            ("s3://bucket/./a", "`.` or `..`"),
            ("s3://bucket/a\nb", "control characters"),
            ("gs://bucket/a\0", "control characters"),
            ("gs://bücket/a", "other characters"),
            ("https://acct.blob.core.windows.net", "names no bucket or container"),
            ("https://acct.blob.core.windows.net/ctx?sig=hunter2", "names no object"),
            ("https://acct.blob.core.windows.net/ctx/%2e%2e/x", "`.` or `..`"),
            ("https://acct.blob.core.windows.net/ctx/../x", "`.` or `..`"),
            ("https://acct.blob.core.windows.net/ctx/%ff", "UTF-8"),
            ("https://acct.blob.core.windows.net/ctx/%4", "UTF-8"),
            ("https://acct.blob.core.windows.net/c/x", "too short"),
            ("https://a-b-c.blob.core.windows.net/ctx/x", "other characters"),
        ] {
            let error = Location::parse(text).unwrap_err();
            assert!(error.to_string().contains(want), "{text}: {error}");
            assert!(!error.to_string().contains("hunter2") && !error.hint().is_empty());
        }
        let long = format!("s3://bucket/{}", "k".repeat(1025));
        assert!(Location::parse(&long).unwrap_err().to_string().contains("longer"));
    }

    #[test]
    fn logins_are_refused_and_not_quoted() {
        for text in
            ["s3://AKIA:hunter2@bucket/k", "gs://hunter2@b/k", "https://u:hunter2@acct.blob.core.windows.net/c/b"]
        {
            let error = Location::parse(text).unwrap_err();
            assert!(matches!(error, LocationError::Login(_)), "{error}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn prefixes_may_be_empty() {
        assert_eq!(Location::parse_prefix("s3://bucket").unwrap().unwrap().key(), "");
        assert_eq!(Location::parse_prefix("gs://bucket/a/").unwrap().unwrap().key(), "a/");
        let azure = Location::parse_prefix("https://acct.blob.core.windows.net/ctx/").unwrap().unwrap();
        assert_eq!(azure.with_key("x y").unwrap().to_string(), "https://acct.blob.core.windows.net/ctx/x%20y");
        assert!(azure.with_key("../x").is_err() && azure.with_key("").is_err());
    }
}
