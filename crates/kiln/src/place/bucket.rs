//! Buckets of object stores, with the options that BuildKit has for them.
//!
//! ```text
//! s3      bucket region endpoint_url use_path_style access_key_id secret_access_key session_token
//! azblob  account_url account_name container secret_access_key
//! gs      bucket endpoint_url without_auth
//! all     url (in the place of the bucket)   name prefix blobs_prefix manifests_prefix
//! ```
//!
//! What is not given comes from the variables and files of the clouds' own tools.

use kiln_engine::bucket::Bucket;
use kiln_objects::{Environment, Location};
use url::Url;

use super::{Around, Options};

/// Whose entries they are, where nothing is said.
const NAME: &str = "kiln";
/// The container that BuildKit takes.
const CONTAINER: &str = "buildkit-cache";
const MAX_NAME: usize = 128;

/// The bucket that a URL names; `None` when the text is no such URL.
pub(super) fn of_url(text: &str, around: &Around<'_>) -> Result<Option<Bucket>, String> {
    if !super::is_url(text) {
        return Ok(None);
    }
    match Location::parse_prefix(text).map_err(|e| e.to_string())? {
        Some(root) => bucket(root, &mut Options(Vec::new()), around.environment.clone()).map(Some),
        None => Err("expected s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or \
                     https://ACCOUNT.blob.core.windows.net/CONTAINER/PREFIX"
            .to_owned()),
    }
}

/// Of `type=s3`.
pub(super) fn s3(options: &mut Options, around: &Around<'_>) -> Result<Bucket, String> {
    let root = root(options, "s3", &|| (around.variable)("AWS_BUCKET"))?;
    let mut environment = around.environment.clone();
    if let Some(region) = options.take("region") {
        environment = environment.with("AWS_REGION", region);
    }
    if let Some(endpoint) = endpoint(options)? {
        environment = environment.with("S3_ENDPOINT", endpoint);
    }
    if let Some(style) = options.switch("use_path_style")? {
        environment = environment.with("S3_FORCE_PATH_STYLE", style.to_string());
    }
    let session = options.take("session_token");
    match (options.take("access_key_id"), options.take("secret_access_key")) {
        (None, None) if session.is_none() => {}
        (Some(id), Some(secret)) => {
            let given = environment.with("AWS_ACCESS_KEY_ID", id).with("AWS_SECRET_ACCESS_KEY", secret);
            // That of another key would not fit this one.
            environment = match session {
                Some(session) => given.with("AWS_SESSION_TOKEN", session),
                None => given.without("AWS_SESSION_TOKEN"),
            };
        }
        _ => return Err("access_key_id= and secret_access_key= belong together".to_owned()),
    }
    bucket(root, options, environment)
}

/// Of `type=gs`.
pub(super) fn gs(options: &mut Options, around: &Around<'_>) -> Result<Bucket, String> {
    let root = root(options, "gs", &|| None)?;
    let mut environment = around.environment.clone();
    if options.take("gcp_json_key").is_some() {
        return Err(
            "gcp_json_key= is not supported: set GOOGLE_APPLICATION_CREDENTIALS to a file with the key".to_owned()
        );
    }
    match (endpoint(options)?, options.switch("without_auth")?.unwrap_or(false)) {
        (None, false) => {}
        (Some(endpoint), true) => environment = environment.with("STORAGE_EMULATOR_HOST", endpoint),
        (Some(_), false) => {
            return Err("endpoint_url= needs without_auth=true: tokens of Google are for Google's hosts".to_owned());
        }
        (None, true) => return Err("without_auth=true needs endpoint_url=".to_owned()),
    }
    bucket(root, options, environment)
}

/// Of `type=azblob`.
pub(super) fn azblob(options: &mut Options, around: &Around<'_>) -> Result<Bucket, String> {
    let mut environment = around.environment.clone();
    if let Some(key) = options.take("secret_access_key") {
        environment = environment.with("AZURE_STORAGE_ACCESS_KEY", key);
    }
    if let Some(root) = url(options, "azblob")? {
        return bucket(root, options, environment);
    }
    let variable = |name: &str| (around.variable)(&format!("BUILDKIT_AZURE_STORAGE_{name}"));
    let account_url = options.take("account_url").or_else(|| variable("ACCOUNT_URL"));
    let account_url = account_url.ok_or("account_url= is missing")?;
    let account = options.take("account_name").or_else(|| variable("ACCOUNT_NAME"));
    let container = options.take("container").or_else(|| variable("CONTAINER"));
    if let (false, Some(prefix)) = (options.0.iter().any(|(key, _)| key == "prefix"), variable("PREFIX")) {
        options.0.push(("prefix".to_owned(), prefix));
    }
    let container = container.unwrap_or_else(|| CONTAINER.to_owned());
    let mut parsed = Url::parse(&account_url).map_err(|_| "account_url is not a URL")?;
    let there = |text: &str| Location::parse_prefix(text).map_err(|e| e.to_string());
    parsed.set_path(&format!("/{container}/"));
    if let (Some(root), None) = (there(parsed.as_str())?, &account) {
        return bucket(root, options, environment);
    }
    // A server that is not Azure's, or a name of its own for one of Azure's.
    let endpoint = checked("account_url", account_url)?;
    let account = account.or_else(|| endpoint.split('/').nth(3).map(str::to_owned)).filter(|name| !name.is_empty());
    let account = account.ok_or("account_name= is missing: account_url is not one of Azure's hosts")?;
    let root = there(&format!("https://{account}.blob.core.windows.net/{container}/"))?;
    let root = root.ok_or("account_name is not the name of an account")?;
    bucket(root, options, environment.with("AZURE_STORAGE_ENDPOINT", endpoint))
}

/// The bucket that `url` or `bucket` names.
fn root(options: &mut Options, scheme: &str, otherwise: &dyn Fn() -> Option<String>) -> Result<Location, String> {
    if let Some(root) = url(options, scheme)? {
        return Ok(root);
    }
    let name = options.take("bucket").or_else(otherwise).ok_or("bucket= is missing")?;
    let root = Location::parse_prefix(&format!("{scheme}://{name}/")).map_err(|e| e.to_string())?;
    match root.filter(|root| root.bucket() == name) {
        Some(root) => Ok(root),
        None => Err("bucket is not the name of a bucket: give what follows it as prefix=".to_owned()),
    }
}

fn url(options: &mut Options, kind: &str) -> Result<Option<Location>, String> {
    let Some(text) = options.take("url") else { return Ok(None) };
    let root = Location::parse_prefix(&text).map_err(|e| e.to_string())?;
    let fits = matches!(
        (kind, &root),
        ("s3", Some(Location::S3 { .. }))
            | ("gs", Some(Location::Gcs { .. }))
            | ("azblob", Some(Location::Azure { .. }))
    );
    match fits {
        true => Ok(root),
        false => Err(format!("url= is not an address of a cache of the type {kind}")),
    }
}

fn endpoint(options: &mut Options) -> Result<Option<String>, String> {
    options.take("endpoint_url").map(|text| checked("endpoint_url", text)).transpose()
}

/// The address of a server.
fn checked(key: &str, text: String) -> Result<String, String> {
    let known = Url::parse(&text).is_ok_and(|url| {
        let login = !url.username().is_empty() || url.password().is_some();
        matches!(url.scheme(), "http" | "https") && url.has_host() && !login && url.query().is_none()
    });
    if known { Ok(text) } else { Err(format!("{key} is not an http or https URL without login and query")) }
}

/// The bucket at `root`, with the options that all kinds have.
fn bucket(root: Location, options: &mut Options, environment: Environment) -> Result<Bucket, String> {
    let prefix = options.take("prefix").unwrap_or_default();
    let key = format!("{}{}", folder(root.key()), folder(&prefix));
    let root = match &*key {
        "" => root,
        key => root.with_key(key).map_err(|e| e.to_string())?,
    };
    let documents = folder(&options.take("manifests_prefix").unwrap_or_else(|| "manifests/".to_owned()));
    let blobs = folder(&options.take("blobs_prefix").unwrap_or_else(|| "blobs/".to_owned()));
    let name = options.take("name").unwrap_or_else(|| NAME.to_owned());
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if !plain || name.len() > MAX_NAME || name.starts_with('.') {
        return Err("name= is one word of letters, digits, `-`, `_` and `.`".to_owned());
    }
    for part in [&documents, &blobs] {
        root.with_key(&format!("{key}{part}x")).map_err(|e| e.to_string())?;
    }
    Ok(Bucket { root, documents, name, blobs, environment })
}

/// A beginning of keys that ends with a slash, or nothing.
fn folder(text: &str) -> String {
    match text.trim_matches('/') {
        "" => String::new(),
        text => format!("{text}/"),
    }
}
