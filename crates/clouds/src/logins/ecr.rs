//! Amazon's registries: one of each account in each region, and the public one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use kiln_http::Secret;
use reqwest::Method;
use serde::Deserialize;
use url::Url;

use super::{Lasting, Login};
use crate::credentials::aws::{Keys, domain, is_region};
use crate::credentials::{Place, header_map};
use crate::date;
use crate::environ::Environment;
use crate::error::{CloudError, Failure};
use crate::sign::sha256_hex;
use crate::sign::sigv4::{Request, Signer};
use crate::transport::{Parcel, Payload, Transport};
use kiln_http::connection::authority;

/// The host of the public registry.
pub(super) const PUBLIC: &str = "public.ecr.aws";
const JSON: &str = "application/x-amz-json-1.1";
/// Length of an account's number.
const ACCOUNT: usize = 12;

/// A registry, as far as logins differ.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Registry {
    region: String,
    /// The host that sells logins.
    api: String,
    public: bool,
}

impl Registry {
    /// The registry at a host, if it is Amazon's.
    pub(super) fn of(host: &str) -> Option<Registry> {
        if host == PUBLIC {
            let (region, api) = ("us-east-1".to_owned(), "api.ecr-public.us-east-1.amazonaws.com".to_owned());
            return Some(Registry { region, api, public: true });
        }
        let (account, rest) = host.split_once('.')?;
        if account.len() != ACCOUNT || !account.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let (kind, rest) = match (rest.strip_prefix("dkr.ecr."), rest.strip_prefix("dkr.ecr-fips.")) {
            (Some(rest), _) => ("api.ecr", rest),
            (None, Some(rest)) => ("ecr-fips", rest),
            (None, None) => {
                let region = rest.strip_prefix("dkr-ecr.")?.strip_suffix(".on.aws").filter(|r| is_region(r))?;
                let api = format!("ecr.{region}.api.aws");
                return Some(Registry { region: region.to_owned(), api, public: false });
            }
        };
        let (region, end) = rest.split_once('.')?;
        if !is_region(region) || end != domain(region) {
            return None;
        }
        Some(Registry { region: region.to_owned(), api: format!("{kind}.{region}.{end}"), public: false })
    }

    fn address(&self, place: &Place<'_>, environment: &Environment) -> Result<Url, CloudError> {
        let own = if self.public { "AWS_ENDPOINT_URL_ECR_PUBLIC" } else { "AWS_ENDPOINT_URL_ECR" };
        match environment.first(&[own, "AWS_ENDPOINT_URL"]) {
            Some((_, address)) => place.address(address),
            None => place.address(&format!("https://{}/", self.api)),
        }
    }

    /// Buys a login.
    pub(super) async fn login(
        &self,
        transport: &Transport,
        environment: &Environment,
        keys: &Keys,
    ) -> Result<Lasting, Failure> {
        let place = Place { cloud: "AWS", name: "the registry service (ECR)", transport };
        let (service, target) = match self.public {
            true => ("ecr-public", "SpencerFrontendService.GetAuthorizationToken"),
            false => ("ecr", "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"),
        };
        let url = self.address(&place, environment)?;
        let (body, time) = (Bytes::from_static(b"{}"), SystemTime::now());
        let mut headers = vec![
            ("content-type".to_owned(), JSON.to_owned()),
            ("x-amz-date".to_owned(), date::compact(time)),
            ("x-amz-target".to_owned(), target.to_owned()),
        ];
        if let Some(session) = &keys.session {
            headers.push(("x-amz-security-token".to_owned(), session.expose().to_owned()));
        }
        let mut signed = headers.clone();
        signed.push(("host".to_owned(), authority(&url)));
        let signer = Signer { key_id: &keys.id, secret: &keys.secret, region: &self.region, service, time };
        let payload = sha256_hex(&body);
        let request = Request { method: "POST", path: url.path(), query: "", headers: &signed, payload: &payload };
        headers.push(("authorization".to_owned(), signer.authorization(&request)));
        let headers = header_map(&headers)?;
        let (method, payload, what) = (Method::POST, Payload::Bytes(body), place.name);
        let parcel = Parcel { method, url, headers, payload, what, metadata: false, sent: &|_| {} };
        let answer = place.accept(transport.send(parcel).await?).await?;
        Ok(read(&answer).map_err(|why| place.error(why))?)
    }
}

/// The login in an answer: the private registries' is a list, the public one's is not.
fn read(answer: &[u8]) -> Result<Lasting, &'static str> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Data {
        authorization_token: Secret,
        expires_at: f64,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(Data),
        Many(Vec<Data>),
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        authorization_data: OneOrMany,
    }
    let answer: Answer = serde_json::from_slice(answer).map_err(|_| "its answer holds no login")?;
    let data = match answer.authorization_data {
        OneOrMany::One(data) => Some(data),
        OneOrMany::Many(data) => data.into_iter().next(),
    };
    let data = data.ok_or("its answer holds no login")?;
    let bytes = STANDARD.decode(data.authorization_token.expose()).map_err(|_| "its login is not base64")?;
    let text = String::from_utf8(bytes).map_err(|_| "its login is not UTF-8")?;
    let (user, password) = text.split_once(':').ok_or("its login is no user and password")?;
    let until = Duration::try_from_secs_f64(data.expires_at).ok().and_then(|since| UNIX_EPOCH.checked_add(since));
    let until = until.ok_or("its login ends at no time")?;
    Ok((Login::Password { user: user.to_owned(), password: Secret::new(password) }, Some(until)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_registry_has_its_service() {
        let api = |host: &str| Registry::of(host).map(|r| (r.api, r.region));
        let is = |api: &str, region: &str| Some((api.to_owned(), region.to_owned()));
        let account = "123456789012";
        for (end, want) in [
            ("dkr.ecr.eu-west-1.amazonaws.com", is("api.ecr.eu-west-1.amazonaws.com", "eu-west-1")),
            ("dkr.ecr.cn-north-1.amazonaws.com.cn", is("api.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1")),
            ("dkr.ecr-fips.us-gov-west-1.amazonaws.com", is("ecr-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1")),
            ("dkr-ecr.eu-west-1.on.aws", is("ecr.eu-west-1.api.aws", "eu-west-1")),
            ("dkr.ecr.eu-west-1.amazonaws.com.cn", None),
            ("dkr.ecr.EU.amazonaws.com", None),
            ("dkr.ecr.evil/x.amazonaws.com", None),
            ("dkr.ecr..amazonaws.com", None),
            ("dkr.ecr.eu-west-1.amazonaws.com:443", None),
            ("dkr-ecr.a.b.on.aws", None),
            ("s3.eu-west-1.amazonaws.com", None),
        ] {
            assert_eq!(api(&format!("{account}.{end}")), want, "{end}");
        }
        assert_eq!(api("12345678901.dkr.ecr.eu-west-1.amazonaws.com"), None);
        assert_eq!(api("12345678901x.dkr.ecr.eu-west-1.amazonaws.com"), None);
        assert!(Registry::of(PUBLIC).unwrap().public);
    }

    #[test]
    fn answers_are_read_and_never_quoted() {
        let many = br#"{"authorizationData":[{"authorizationToken":"QVdTOnB3","expiresAt":1700000000.5}]}"#;
        let one = br#"{"authorizationData":{"authorizationToken":"QVdTOnB3","expiresAt":1700000000}}"#;
        for good in [&many[..], one] {
            let (login, until) = read(good).unwrap();
            assert_eq!(login, Login::Password { user: "AWS".to_owned(), password: Secret::new("pw") });
            assert_eq!(until.unwrap().duration_since(UNIX_EPOCH).unwrap().as_secs(), 1_700_000_000);
        }
        for bad in [
            "",
            "{}",
            r#"{"authorizationData":[]}"#,
            r#"{"authorizationData":[{"authorizationToken":"hunter2","expiresAt":1}]}"#,
            r#"{"authorizationData":[{"authorizationToken":"aHVudGVyMg==","expiresAt":1}]}"#,
            r#"{"authorizationData":[{"authorizationToken":"QVdTOnB3","expiresAt":-1}]}"#,
            r#"{"authorizationData":[{"authorizationToken":"QVdTOnB3","expiresAt":1e300}]}"#,
            r#"{"authorizationData":[{"authorizationToken":"/w==","expiresAt":1}]}"#,
        ] {
            assert!(!read(bad.as_bytes()).unwrap_err().contains("hunter2"), "{bad}");
        }
    }
}
