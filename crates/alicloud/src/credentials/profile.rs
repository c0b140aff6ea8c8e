//! The file `~/.aliyun/config.json`, as Alibaba Cloud's own command line writes it.

use std::path::Path;

use kiln_clouds::transport::read_file;
use kiln_http::Secret;
use serde::Deserialize;

use super::{Found, Keys, Source};
use crate::{AlicloudError, Result};

/// No such file is larger.
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
    let text = read_file(path, LIMIT).map_err(bad)?;
    // The parser's own words quote the text, which has secrets.
    let all: Profiles = serde_json::from_slice(&text).map_err(|e| bad(format!("line {} is no JSON", e.line())))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_too_large_is_an_error_and_not_cut() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut text =
            r#"{"profiles": [{"name": "default", "access_key_id": "k", "access_key_secret": "s"}]}"#.to_owned();
        std::fs::write(file.path(), &text).unwrap();
        assert!(read(file.path(), None).is_ok());
        // White space at its end: cut off there, it would be read as if nothing had happened.
        text.push_str(&" ".repeat(1 << 20));
        std::fs::write(file.path(), &text).unwrap();
        let error = read(file.path(), None).unwrap_err().to_string();
        assert!(error.contains("it is larger than 1048576 bytes"), "{error}");
    }
}
