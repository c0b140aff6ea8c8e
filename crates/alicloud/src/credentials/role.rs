//! Temporary keys: those of the machine of ECS that Kiln runs on, and those of a role that is taken on.

use std::time::{Duration, SystemTime};

use kiln_clouds::credentials::header_map;
use kiln_clouds::transport::{Parcel, Payload};
use kiln_clouds::{date, percent};
use kiln_http::Secret;
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use url::Url;

use super::{Fresh, Keys};
use crate::client::{Call, Service, signed};
use crate::wire::{Heard, Unheard, Wire};
use crate::{AlicloudError, Refusal, Result, Stop};

/// Where the metadata server is, seen from every machine of ECS.
const METADATA: &str = "http://100.100.100.200";
/// The token for the metadata server, and how long it is to be good.
const TOKEN: &str = "x-aliyun-ecs-metadata-token";
const LIFETIME: &str = "x-aliyun-ecs-metadata-token-ttl-seconds";
const TOKEN_SECONDS: &str = "300";

/// What both services say.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Temporary {
    access_key_id: String,
    access_key_secret: Secret,
    security_token: Secret,
    expiration: String,
}

impl Temporary {
    fn fresh(self) -> Fresh {
        let until =
            date::parse_rfc3339(&self.expiration).unwrap_or_else(|| SystemTime::now() + Duration::from_secs(900));
        let token = Some(self.security_token);
        (Keys { id: self.access_key_id, secret: self.access_key_secret, token }, Some(until))
    }
}

/// The keys of this machine's role.
pub(super) fn of_machine(role: Option<&str>, wire: &Wire, stop: Stop<'_>) -> Result<Fresh> {
    let base = wire.environment.get("ALICLOUD_METADATA_ENDPOINT").unwrap_or(METADATA).trim_end_matches('/');
    let bad = |why: String| AlicloudError::Credentials { place: format!("the metadata server {base}"), why };
    let ask = |method: Method, path: &str, header: Option<(&str, &str)>| -> Result<Heard> {
        let url = Url::parse(&format!("{base}/latest/{path}")).map_err(|_| bad("this is no URL".to_owned()))?;
        let headers = headers(header).ok_or_else(|| bad("its token is not one line".to_owned()))?;
        let what = "the keys of this machine's role";
        let parcel = Parcel { method, url, headers, payload: Payload::None, what, metadata: true, sent: &|_| {} };
        wire.ask(parcel, stop, Duration::ZERO).map_err(|unheard| match unheard {
            Unheard::Cancelled => AlicloudError::Cancelled,
            Unheard::Failed(failure) => bad(format!("{}: is this a machine of ECS?", failure.error)),
        })
    };
    let token = ask(Method::PUT, "api/token", Some((LIFETIME, TOKEN_SECONDS)))?;
    let token = (token.status == 200).then(|| String::from_utf8_lossy(&token.body).trim().to_owned());
    let get = |path: &str| -> Result<String> {
        let header = token.as_deref().map(|token| (TOKEN, token));
        let heard = ask(Method::GET, path, header)?;
        match heard.status {
            200 => Ok(String::from_utf8_lossy(&heard.body).into_owned()),
            404 => Err(bad("the machine does not have this role".to_owned())),
            status => Err(bad(format!("it answers HTTP {status}"))),
        }
    };
    const BELOW: &str = "meta-data/ram/security-credentials/";
    let role = match role {
        Some(role) => role.to_owned(),
        None => get(BELOW)?.trim().to_owned(),
    };
    let text = get(&format!("{BELOW}{}", percent::component(&role)))?;
    let keys: Temporary = serde_json::from_str(&text).map_err(|_| bad("its answer holds no keys".to_owned()))?;
    Ok(keys.fresh())
}

/// The header of a question; the token is not shown. `None` if its value can be none.
fn headers(header: Option<(&str, &str)>) -> Option<HeaderMap> {
    let all: Vec<_> = header.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    header_map(&all).ok()
}

/// A role to take on.
pub(super) struct Role<'a> {
    pub(super) arn: &'a str,
    pub(super) session: &'a str,
    pub(super) seconds: u64,
    pub(super) region: &'a str,
}

/// The keys of a role that is taken on.
pub(super) fn assume(keys: &Keys, role: &Role<'_>, wire: &Wire, stop: Stop<'_>) -> Result<Fresh> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        credentials: Temporary,
    }
    let call = Call::new("AssumeRole")
        .of(Service::Sts)
        .with("RoleArn", role.arn)
        .with("RoleSessionName", role.session)
        .with("DurationSeconds", role.seconds.to_string());
    let endpoint = Service::Sts.endpoint(&wire.environment, role.region, None)?;
    let (url, headers) = signed(&call, &endpoint, keys)?;
    let (payload, what) = (Payload::None, "AssumeRole");
    let parcel = Parcel { method: Method::POST, url, headers, payload, what, metadata: false, sent: &|_| {} };
    let heard = wire.ask(parcel, stop, Duration::ZERO)?;
    if heard.status != 200 {
        let refusal = Box::new(Refusal::parse(heard.status, &heard.body));
        return Err(AlicloudError::Refused { action: format!("AssumeRole {}", role.arn), refusal });
    }
    let wrong = |_| AlicloudError::Protocol { action: what.to_owned(), why: "it holds no keys".to_owned() };
    let answer: Answer = serde_json::from_slice(&heard.body).map_err(wrong)?;
    Ok(answer.credentials.fresh())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_of_the_metadata_server_is_not_shown() {
        let shown = format!("{:?}", headers(Some((TOKEN, "hunter2"))).unwrap());
        assert!(shown.contains(TOKEN) && !shown.contains("hunter2"), "{shown}");
        assert!(headers(Some((TOKEN, "two\nlines"))).is_none() && headers(None).unwrap().is_empty());
    }
}
