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
