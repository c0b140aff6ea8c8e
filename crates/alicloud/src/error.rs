//! What can fail between Kiln and Alibaba Cloud, and what to do about it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use kiln_clouds::CloudError;
use kiln_http::answer::printable;
use serde::Deserialize;

/// Why something in Alibaba Cloud could not be done. No variant holds a credential.
#[derive(Debug, thiserror::Error)]
pub enum AlicloudError {
    /// A service refused a call.
    #[error("{action}: {refusal}")]
    Refused {
        /// The call.
        action: String,
        /// What the service said.
        refusal: Box<Refusal>,
    },
    /// A service could not be asked.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// Credentials are configured and cannot be used, or there are none.
    #[error("cannot get credentials for Alibaba Cloud from {place}: {why}")]
    Credentials {
        /// The key, variable, file or service.
        place: String,
        /// Why, without quoting any.
        why: String,
    },
    /// A setting makes no sense.
    #[error("{what}")]
    Setting {
        /// What is wrong.
        what: String,
        /// What to do.
        hint: Option<String>,
    },
    /// An answer that is not the protocol.
    #[error("{action} is answered wrongly: {why}")]
    Protocol {
        /// The call.
        action: String,
        /// What is wrong.
        why: String,
    },
    /// A resource did not get where it should in time.
    #[error("{what} is not {wanted} after {} s: it is {seen}", after.as_secs())]
    TimedOut {
        /// The resource.
        what: String,
        /// The state that was waited for.
        wanted: &'static str,
        /// The state it was in last.
        seen: String,
        /// How long was waited.
        after: Duration,
    },
    /// A resource is in a state that it does not come back from.
    #[error("{what} is {state}{}", why.as_deref().map(|w| format!(": {w}")).unwrap_or_default())]
    Failed {
        /// The resource.
        what: String,
        /// Its state.
        state: String,
        /// What the service says of it.
        why: Option<String>,
    },
    /// The ledger cannot be written.
    #[error("the ledger of what is made: {0}")]
    Ledger(String),
    /// A file of this machine cannot be read.
    #[error("cannot read {}: {why}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The user stopped it.
    #[error("cancelled")]
    Cancelled,
}

/// What a service said when it refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Its code, such as `QuotaExceed.ElasticQuota`.
    pub code: String,
    /// In words.
    pub message: String,
    /// What its support asks for.
    pub request: String,
    /// Whether the call had been made before, and its answer was lost: then what is refused may be what it did.
    pub repeated: bool,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code.is_empty() {
            true => write!(f, "HTTP {}", self.status)?,
            false => f.write_str(&self.code)?,
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        if !self.request.is_empty() {
            write!(f, " (request {})", self.request)?;
        }
        Ok(())
    }
}

impl Refusal {
    /// Reads the body of a refusal, JSON as ECS says it; of any other only the status is used.
    pub(crate) fn parse(status: u16, body: &[u8]) -> Refusal {
        #[derive(Deserialize, Default)]
        #[serde(rename_all = "PascalCase", default)]
        struct Body {
            code: String,
            message: String,
            request_id: String,
        }
        let body: Body = serde_json::from_slice(body).unwrap_or_default();
        let (code, message, request) = (printable(&body.code), printable(&body.message), printable(&body.request_id));
        Refusal { status, code, message, request, repeated: false }
    }

    /// Whether its code is one of these, or a kind of one (`DependencyViolation.VSwitch` of `DependencyViolation`).
    pub fn is(&self, codes: &[&str]) -> bool {
        codes.iter().any(|code| match self.code.strip_prefix(code) {
            Some(rest) => rest.is_empty() || rest.starts_with('.'),
            None => false,
        })
    }

    /// Whether it says that the resource is not there. That a key, region or call is unknown says nothing of it.
    pub fn is_absence(&self) -> bool {
        let thing = self.code.strip_suffix(".NotFound").or_else(|| self.code.strip_suffix(".NotExist"));
        thing.is_some_and(|thing| ABSENT.iter().any(|known| known.eq_ignore_ascii_case(thing)))
    }
}

/// Codes that a resource that is not there has, without `.NotFound`; services write `Id` and `ID`.
const ABSENT: [&str; 9] = [
    "InvalidInstanceId",
    "InvalidVpcId",
    "InvalidVSwitchId",
    "InvalidSecurityGroupId",
    "InvalidAllocationId",
    "InvalidKeyPairName",
    "InvalidImageId",
    "InvalidSnapshotId",
    "InvalidEipId",
];

/// Codes, and what to do.
const HINTS: &[(&str, &str)] = &[
    ("InvalidAccessKeyId", "check access_key (ALICLOUD_ACCESS_KEY): the key may be deleted or disabled"),
    ("SignatureDoesNotMatch", "check secret_key (ALICLOUD_SECRET_KEY): it is not the secret of that access key"),
    ("IncompleteSignature", "check secret_key (ALICLOUD_SECRET_KEY): it is not the secret of that access key"),
    ("InvalidSecurityToken", "the STS token is over or belongs to another key: SECURITY_TOKEN, security_token"),
    ("MissingSecurityToken", "a key that begins with STS. needs its token: SECURITY_TOKEN, security_token"),
    ("InvalidTimeStamp", "the clock of this machine is wrong"),
    ("Forbidden.RAM", "the user needs a RAM policy that allows this call; docs/alicloud.md lists all that are made"),
    ("NoPermission", "the user needs a RAM policy that allows this call; docs/alicloud.md lists all that are made"),
    (
        "QuotaExceed",
        "ask for a higher quota in the Quota Center, or free what is not needed; `kiln node gc` deletes what builds left",
    ),
    (
        "QuotaExceeded",
        "ask for a higher quota in the Quota Center, or free what is not needed; `kiln node gc` deletes what builds left",
    ),
    ("VpcQuotaExceeded", "name a VPC that is there: vpc_id; `kiln node gc` deletes what builds left"),
    ("InvalidAccountStatus", "the account needs money"),
    ("Account.Arrearage", "the account needs money"),
    ("OperationDenied.NoStock", "take another instance_type or zone_id: this one is sold out"),
    ("InvalidResourceType.NotSupported", "take another instance_type or zone_id: this zone does not have it"),
    ("InvalidInstanceType", "take an instance_type that the zone has"),
    ("InvalidImageName.Duplicated", "choose another image_name, or set image_force_delete"),
    (
        "NoSetRoletoECSServiceAcount",
        "ECS may not read OSS yet: let Kiln make the RAM role AliyunECSImageImportDefaultRole (--make-role), or make it in the console: ECS, Images, Import Image",
    ),
    ("Throttling", "many calls are made with this account at once: try again later"),
    ("IdempotentParameterMismatch", "the same token was used for another call: this is a bug in Kiln"),
];

impl AlicloudError {
    /// What the service said, if it refused.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            AlicloudError::Refused { refusal, .. } => Some(refusal),
            _ => None,
        }
    }

    /// Whether a service refused with one of these codes.
    pub fn is(&self, codes: &[&str]) -> bool {
        self.refusal().is_some_and(|refusal| refusal.is(codes))
    }

    /// Whether a service refused, so that what was to be made is certainly not there.
    pub fn is_definite(&self) -> bool {
        self.refusal().is_some_and(|refusal| !refusal.repeated && refusal.status < 500)
    }

    /// What to do about it, if that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            AlicloudError::Setting { hint, .. } => hint.clone(),
            AlicloudError::Refused { refusal, .. } => {
                HINTS.iter().find(|(code, _)| refusal.is(&[code])).map(|(_, hint)| (*hint).to_owned())
            }
            AlicloudError::Credentials { .. } => Some(
                "set ALICLOUD_ACCESS_KEY and ALICLOUD_SECRET_KEY, or a profile of ~/.aliyun/config.json (ALICLOUD_PROFILE), \
                 or ram_role_name on a machine of ECS"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    pub(crate) fn setting(what: impl Into<String>, hint: impl Into<String>) -> AlicloudError {
        AlicloudError::Setting { what: what.into(), hint: Some(hint.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_with_code_request_and_hint() {
        let body =
            br#"{"RequestId":"1-2","HostId":"ecs","Code":"QuotaExceed.ElasticQuota","Message":"no\u001b[31m more"}"#;
        let refusal = Refusal::parse(403, body);
        let error = AlicloudError::Refused { action: "RunInstances".to_owned(), refusal: Box::new(refusal) };
        assert_eq!(error.to_string(), "RunInstances: QuotaExceed.ElasticQuota: no [31m more (request 1-2)");
        assert!(error.hint().unwrap().contains("Quota Center") && error.is_definite());
        assert!(error.is(&["QuotaExceed"]) && !error.is(&["Quota"]));
        assert_eq!(Refusal::parse(502, b"<html>").to_string(), "HTTP 502");
        let absent = |code: &str| Refusal { code: code.to_owned(), ..Refusal::default() }.is_absence();
        assert!(absent("InvalidVpcId.NotFound") && absent("InvalidVpcID.NotFound"));
        assert!(
            !absent("InvalidAccessKeyId.NotFound") && !absent("InvalidRegionId.NotFound") && !absent("InvalidVpcId")
        );
    }
}
