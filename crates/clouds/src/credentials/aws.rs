//! Keys for Amazon's services, in the order of Amazon's own tools:
//!
//! 1. `AWS_ACCESS_KEY_ID` with `AWS_SECRET_ACCESS_KEY`
//! 2. `AWS_WEB_IDENTITY_TOKEN_FILE` with `AWS_ROLE_ARN`, exchanged at the token service (IAM roles for service accounts)
//! 3. the section `AWS_PROFILE`, else `default`, of `~/.aws/credentials` and `~/.aws/config`
//! 4. `AWS_CONTAINER_CREDENTIALS_{FULL,RELATIVE}_URI` (ECS, EKS Pod Identity)
//! 5. the metadata service of the machine, version 2
//!
//! Sections that need another program or a login (`credential_process`, `sso_*`, `source_profile`) are errors.

use std::net::IpAddr;
use std::time::SystemTime;

use reqwest::Method;
use serde::Deserialize;
use url::Url;

use super::profile::{Dialect, MAX_FILE, Profiles};
use super::{Found, Fresh, Place};
use crate::date;
use crate::environ::Environment;
use crate::error::{CloudError, Failure};
use crate::transport::{Transport, is_loopback, read_file};
use crate::xml;
use kiln_http::Secret;

const CLOUD: &str = "AWS";
/// Where ECS and EKS put the agent that hands out keys.
const AGENTS: [&str; 3] = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];
const METADATA: &str = "http://169.254.169.254";

/// A key.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Its id.
    pub id: String,
    /// What signs.
    pub secret: Secret,
    /// What goes along with keys that end.
    pub session: Option<Secret>,
}

type Got = (Keys, Option<SystemTime>);

/// Whether a text can be the name of a region, so that it may become a part of a host's name.
pub fn is_region(text: &str) -> bool {
    (1..=40).contains(&text.len()) && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// The region in a variable.
///
/// # Errors
/// When it is none.
pub fn checked_region<'a>(variable: &'static str, text: &'a str) -> Result<&'a str, CloudError> {
    if is_region(text) {
        return Ok(text);
    }
    Err(CloudError::Variable { variable, why: "it is not the name of a region".to_owned() })
}

/// The domain of Amazon's services in a region.
pub fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

/// Looks for keys.
#[derive(Debug)]
pub struct Finder<'a> {
    /// How services are asked.
    pub transport: &'a Transport,
    /// Where they are, and what is given.
    pub environment: &'a Environment,
}

/// The two files, read.
pub struct Files {
    credentials: Profiles,
    config: Profiles,
    profile: String,
}

impl Files {
    /// Reads what there is of them. A profile that was asked for by name must be in one.
    ///
    /// # Errors
    /// Files that cannot be read or understood, and a profile that is not there.
    pub fn read(environment: &Environment) -> Result<Files, CloudError> {
        let load = |variable, below_home, dialect| {
            let Some(path) = environment.file(variable, below_home).filter(|path| path.exists()) else {
                return Ok(Profiles::default());
            };
            let error = |why| CloudError::Credentials { cloud: CLOUD, place: path.display().to_string(), why };
            let text = String::from_utf8(read_file(&path, MAX_FILE).map_err(error)?);
            Profiles::parse(&text.map_err(|_| error("it is not UTF-8".to_owned()))?, dialect).map_err(error)
        };
        let credentials = load("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials", Dialect::Credentials)?;
        let config = load("AWS_CONFIG_FILE", ".aws/config", Dialect::Config)?;
        let asked = environment.get("AWS_PROFILE");
        let profile = asked.unwrap_or("default").to_owned();
        if asked.is_some() && !credentials.has(&profile) && !config.has(&profile) {
            let why = "there is no such section in ~/.aws/credentials or ~/.aws/config".to_owned();
            return Err(CloudError::Credentials { cloud: CLOUD, place: format!("AWS_PROFILE={profile}"), why });
        }
        Ok(Files { credentials, config, profile })
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.credentials.get(&self.profile, name).or_else(|| self.config.get(&self.profile, name))
    }

    /// Where buckets are, if a file says so.
    pub fn region(&self) -> Option<&str> {
        self.get("region")
    }
}

impl Finder<'_> {
    /// The first keys in the order of the list, or all places that have none.
    ///
    /// # Errors
    /// A place that is configured and has none.
    pub async fn find(&self) -> Result<Fresh<Keys>, Failure> {
        let mut looked = Vec::new();
        let some = |(keys, until)| Ok((Found::Some(keys), until));
        if let Some(keys) = self.in_variables()? {
            return some((keys, None));
        }
        looked.push("AWS_ACCESS_KEY_ID".to_owned());
        if let Some(file) = self.environment.get("AWS_WEB_IDENTITY_TOKEN_FILE") {
            let role = self.environment.get("AWS_ROLE_ARN").ok_or_else(|| CloudError::Variable {
                variable: "AWS_WEB_IDENTITY_TOKEN_FILE",
                why: "AWS_ROLE_ARN is not set".to_owned(),
            })?;
            return some(self.web_identity(file, role).await?);
        }
        looked.push("AWS_WEB_IDENTITY_TOKEN_FILE".to_owned());
        if let Some(got) = self.in_files().await? {
            return some(got);
        }
        looked.push("~/.aws/credentials and ~/.aws/config".to_owned());
        if let Some(got) = self.in_container().await? {
            return some(got);
        }
        looked.push("AWS_CONTAINER_CREDENTIALS_FULL_URI".to_owned());
        if let Some(got) = self.in_machine().await? {
            return some(got);
        }
        looked.push("the metadata service of the machine".to_owned());
        Ok((Found::None(looked), None))
    }

    fn place<'a>(&'a self, name: &'a str) -> Place<'a> {
        Place { cloud: CLOUD, name, transport: self.transport }
    }

    fn in_variables(&self) -> Result<Option<Keys>, CloudError> {
        let get = |name| self.environment.get(name);
        match (get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY")) {
            (None, None) => Ok(None),
            (Some(id), Some(secret)) => Ok(Some(Keys {
                id: id.to_owned(),
                secret: Secret::new(secret),
                session: get("AWS_SESSION_TOKEN").map(Secret::new),
            })),
            (Some(_), None) => {
                let why = "AWS_SECRET_ACCESS_KEY is not set".to_owned();
                Err(CloudError::Variable { variable: "AWS_ACCESS_KEY_ID", why })
            }
            (None, Some(_)) => {
                let why = "AWS_ACCESS_KEY_ID is not set".to_owned();
                Err(CloudError::Variable { variable: "AWS_SECRET_ACCESS_KEY", why })
            }
        }
    }

    async fn in_files(&self) -> Result<Option<Got>, Failure> {
        let files = Files::read(self.environment)?;
        let name = format!("the section `{}` of ~/.aws", files.profile);
        let place = self.place(&name);
        if let Some(id) = files.get("aws_access_key_id") {
            let secret = files
                .get("aws_secret_access_key")
                .ok_or_else(|| place.error("it has aws_access_key_id and no aws_secret_access_key"))?;
            let session = files.get("aws_session_token").map(Secret::new);
            return Ok(Some((Keys { id: id.to_owned(), secret: Secret::new(secret), session }, None)));
        }
        if let (Some(file), Some(role)) = (files.get("web_identity_token_file"), files.get("role_arn")) {
            return self.web_identity(file, role).await.map(Some);
        }
        for setting in ["credential_process", "source_profile", "credential_source", "sso_session", "sso_start_url"] {
            if files.get(setting).is_some() {
                let why = format!("`{setting}` is not supported: export keys with `aws configure export-credentials`");
                return Err(place.error(why).into());
            }
        }
        Ok(None)
    }

    /// Exchanges a token for keys (`AssumeRoleWithWebIdentity`).
    async fn web_identity(&self, file: &str, role: &str) -> Result<Got, Failure> {
        let token = self.place(file).file(file)?;
        let place = self.place("the token service (STS)");
        let url = match self.environment.first(&["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"]) {
            Some((_, address)) => place.address(address)?,
            None => match self.environment.first(&["AWS_REGION", "AWS_DEFAULT_REGION"]) {
                Some((variable, region)) => {
                    let region = checked_region(variable, region)?;
                    place.address(&format!("https://sts.{region}.{}/", domain(region)))?
                }
                None => place.address("https://sts.amazonaws.com/")?,
            },
        };
        let session = self.environment.get("AWS_ROLE_SESSION_NAME").unwrap_or("kiln");
        let form = [
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", role),
            ("RoleSessionName", session),
            ("WebIdentityToken", token.expose()),
        ];
        let body = place.post(url, &form).await?;
        let root = xml::parse(&body).map_err(|why| place.error(why))?;
        let keys = root.child("AssumeRoleWithWebIdentityResult").and_then(|result| result.child("Credentials"));
        let text = |name: &str| keys.and_then(|k| k.text_of(name)).filter(|t| !t.is_empty());
        let (Some(id), Some(secret), Some(session)) =
            (text("AccessKeyId"), text("SecretAccessKey"), text("SessionToken"))
        else {
            return Err(place.error("its answer holds no key").into());
        };
        let until = text("Expiration").and_then(date::parse_rfc3339);
        let until = until.ok_or_else(|| place.error("its answer does not say until when the key is good"))?;
        let keys = Keys { id: id.to_owned(), secret: Secret::new(secret), session: Some(Secret::new(session)) };
        Ok((keys, Some(until)))
    }

    async fn in_container(&self) -> Result<Option<Got>, Failure> {
        let place = self.place("the container's credentials service");
        let url = match (
            self.environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
            self.environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        ) {
            (Some(path), _) => Url::parse(&format!("http://{}/{}", AGENTS[0], path.trim_start_matches('/')))
                .map_err(|_| place.error("its path is not one of a URL"))?,
            (None, Some(address)) => agent_address(&place, address)?,
            (None, None) => return Ok(None),
        };
        let token = match self.environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
            Some(file) => Some(self.place(file).file(file)?),
            None => self.environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(Secret::new),
        };
        let headers: Vec<_> = token.iter().map(|token| ("authorization", token.expose())).collect();
        let response = place.ask(Method::GET, url, &headers).await?;
        let Some(response) = response else { return Err(place.error("it does not answer").into()) };
        let body = place.accept(response).await?;
        Ok(Some(handed_out(&place, &body)?))
    }

    async fn in_machine(&self) -> Result<Option<Got>, Failure> {
        let environment = self.environment;
        if environment.get("AWS_EC2_METADATA_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let base = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or(METADATA);
        let place = self.place("the metadata service of the machine");
        let url = |path: &str| {
            Url::parse(&format!("{}/latest/{path}", base.trim_end_matches('/')))
                .map_err(|_| place.error("AWS_EC2_METADATA_SERVICE_ENDPOINT is not a URL"))
        };
        let lifetime = [("x-aws-ec2-metadata-token-ttl-seconds", "21600")];
        let Some(response) = place.ask(Method::PUT, url("api/token")?, &lifetime).await? else { return Ok(None) };
        // Other clouds have another service at this address, which knows no such token.
        if !response.status().is_success() {
            return Ok(None);
        }
        let token = line(&place, &place.accept(response).await?)?;
        let headers = [("x-aws-ec2-metadata-token", &*token)];
        let get = async |path: &str| place.ask(Method::GET, url(path)?, &headers).await;
        let path = "meta-data/iam/security-credentials/";
        let Some(response) = get(path).await? else { return Ok(None) };
        if response.status().as_u16() == 404 {
            return Ok(None);
        }
        let role = line(&place, &place.accept(response).await?)?;
        if role.is_empty() {
            return Ok(None);
        }
        let Some(response) = get(&format!("{path}{}", crate::percent::component(&role))).await? else {
            return Err(place.error("it stopped answering").into());
        };
        let body = place.accept(response).await?;
        Ok(Some(handed_out(&place, &body)?))
    }
}

/// Keys may be fetched without TLS only from this machine and from where the cloud puts its agents.
fn agent_address(place: &Place<'_>, text: &str) -> Result<Url, CloudError> {
    let url = Url::parse(text).map_err(|_| place.error("its address is not a URL"))?;
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let agent = |ip: IpAddr| AGENTS.iter().any(|a| a.parse() == Ok(ip));
    let known = is_loopback(&url) || host.parse::<IpAddr>().is_ok_and(agent);
    match url.scheme() {
        "https" => Ok(url),
        "http" if known => Ok(url),
        _ => Err(place.error("its address is neither https nor on this machine")),
    }
}

fn line(place: &Place<'_>, body: &[u8]) -> Result<String, CloudError> {
    let text = std::str::from_utf8(body).map_err(|_| place.error("its answer is not UTF-8"))?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// The keys in the JSON of an agent or a metadata service.
fn handed_out(place: &Place<'_>, body: &[u8]) -> Result<Got, CloudError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Document {
        access_key_id: String,
        secret_access_key: String,
        token: Option<String>,
        expiration: Option<String>,
    }
    let document: Document = serde_json::from_slice(body).map_err(|_| place.error("its answer holds no key"))?;
    let until = match document.expiration.as_deref() {
        None => None,
        Some(text) => Some(date::parse_rfc3339(text).ok_or_else(|| place.error("its key ends at no time"))?),
    };
    let session = document.token.map(Secret::new);
    Ok((Keys { id: document.access_key_id, secret: Secret::new(document.secret_access_key), session }, until))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_cannot_lead_to_another_host() {
        for bad in ["", "evil.example/", "a.b", "A", "x@y", "eu-west-1 ", &"a".repeat(41)] {
            assert!(!is_region(bad), "{bad}");
        }
        assert!(is_region("us-gov-west-1"));
    }
}
