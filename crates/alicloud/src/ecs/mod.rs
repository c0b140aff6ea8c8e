//! Calls of ECS (2014-05-26), by what they are about. Networks and addresses are asked there too, as Packer does.
//!
//! [`network`] VPCs, vSwitches, security groups, elastic addresses     [`instance`] machines     [`key_pair`] who logs in
//! [`image`] images and snapshots     [`region`] regions, zones, what an account may have     [`wait`] until it is so

pub mod image;
pub mod instance;
pub mod key_pair;
pub mod network;
pub mod region;
pub mod wait;

/// The key of the tag that everything of a build has, with the build as its value.
pub const TAG: &str = "kiln-build";

/// The mark of a build: a tag where there are tags, a description where there are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark(String);

impl Mark {
    /// Of this build.
    pub fn of(build: &str) -> Mark {
        Mark(build.to_owned())
    }

    /// The build.
    pub fn build(&self) -> &str {
        &self.0
    }

    /// As a tag.
    pub fn tag(&self) -> (String, String) {
        (TAG.to_owned(), self.0.clone())
    }

    /// As a description.
    pub fn description(&self) -> String {
        format!("{TAG}={}", self.0)
    }

    /// The build that a description is the mark of.
    pub fn read(description: &str) -> Option<&str> {
        description.strip_prefix(TAG)?.strip_prefix('=').filter(|build| !build.is_empty())
    }
}

/// Whether a tag that a user wants may have this key.
///
/// # Errors
/// Why not.
pub fn check_tag(key: &str) -> Result<(), String> {
    let is_ours = key.starts_with("kiln-");
    let is_theirs = ["aliyun", "acs:", "http://", "https://"].iter().any(|begin| key.starts_with(begin));
    match (key.is_empty(), is_ours, is_theirs) {
        (true, ..) => Err("a tag must have a key".to_owned()),
        (_, true, _) => Err(format!("the tag `{key}` is Kiln's own: what builds left is found, and deleted, by it")),
        (.., true) => Err(format!("a tag must not be called `{key}`: ECS keeps such keys for itself")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_tag_is_never_the_mark_of_a_build() {
        assert!(check_tag(TAG).unwrap_err().contains("Kiln's own"));
        for bad in ["", "kiln-image", "aliyun.x", "acs:rm", "https://x"] {
            assert!(check_tag(bad).is_err(), "{bad}");
        }
        for good in ["team", "Kiln", "kiln", "for"] {
            check_tag(good).unwrap();
        }
    }

    #[test]
    fn a_mark_is_read_back() {
        assert_eq!(Mark::read(&Mark::of("b-1").description()), Some("b-1"));
        assert!(Mark::read("kiln-build=").is_none() && Mark::read("a network").is_none());
    }
}
