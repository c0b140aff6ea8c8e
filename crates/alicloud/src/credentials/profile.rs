//! The file `~/.aliyun/config.json`, as Alibaba Cloud's own command line writes it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use kiln_http::Secret;
use serde::Deserialize;

use super::{Found, Keys, Source};
use crate::{AlicloudError, Result};

/// The file is not read beyond this many bytes.
const LIMIT: u64 = 1 << 20;

#[derive(Deserialize)]
struct Profiles {
    #[serde(default)]
    current: String,
    #[serde(default)]
    profiles: Vec<Profile>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Profile {
    name: String,
    mode: String,
    access_key_id: String,
    access_key_secret: Secret,
    sts_token: Secret,
    ram_role_name: String,
    ram_role_arn: String,
    ram_session_name: String,
    expired_seconds: u64,
    region_id: String,
}

/// The source that a profile of a file means; the file's current one if none is named.
pub(super) fn read(path: &Path, name: Option<&str>) -> Result<Found> {
    let place = path.display().to_string();
    let bad = |why: String| AlicloudError::Credentials { place: place.clone(), why };
    let mut text = String::new();
    let file = File::open(path).map_err(|e| bad(e.to_string()))?;
    file.take(LIMIT).read_to_string(&mut text).map_err(|e| bad(e.to_string()))?;
    // The parser's own words quote the text, which has secrets.
    let all: Profiles = serde_json::from_str(&text).map_err(|e| bad(format!("line {} is no JSON", e.line())))?;
    let wanted = name.unwrap_or(if all.current.is_empty() { "default" } else { &all.current });
    let Some(profile) = all.profiles.iter().find(|profile| profile.name == wanted) else {
        let names: Vec<&str> = all.profiles.iter().map(|profile| &*profile.name).collect();
        return Err(bad(format!("there is no profile `{wanted}`, only: {}", names.join(", "))));
    };
    let source = profile.source().map_err(|why| bad(format!("profile `{wanted}`: {why}")))?;
    Ok(Found { source, region: Some(profile.region_id.clone()).filter(|region| !region.is_empty()) })
}

impl Profile {
    fn source(&self) -> Result<Source, String> {
        let role = |base| {
            let session = if self.ram_session_name.is_empty() { "kiln" } else { &self.ram_session_name };
            let seconds = if self.expired_seconds == 0 { 3600 } else { self.expired_seconds };
            let (arn, session) = (self.ram_role_arn.clone(), session.to_owned());
            Source::Role { base: Box::new(base), arn, session, seconds }
        };
        let machine = || Source::Machine(Some(self.ram_role_name.clone()).filter(|name| !name.is_empty()));
        match &*self.mode {
            "AK" | "" => Ok(Source::Keys(self.keys(false)?)),
            "StsToken" => Ok(Source::Keys(self.keys(true)?)),
            "RamRoleArn" => Ok(role(Source::Keys(self.keys(false)?))),
            "EcsRamRole" => Ok(machine()),
            "RamRoleArnWithEcs" => Ok(role(machine())),
            other => {
                let known = "AK, StsToken, RamRoleArn, EcsRamRole, RamRoleArnWithEcs";
                Err(format!("its mode `{}` is not supported, only: {known}", kiln_http::printable(other)))
            }
        }
    }

    fn keys(&self, temporary: bool) -> Result<Keys, String> {
        if self.access_key_id.is_empty() || self.access_key_secret.expose().is_empty() {
            return Err("it has no access_key_id and access_key_secret".to_owned());
        }
        let token = Some(self.sts_token.clone()).filter(|token| temporary && !token.expose().is_empty());
        Ok(Keys { id: self.access_key_id.clone(), secret: self.access_key_secret.clone(), token })
    }
}
