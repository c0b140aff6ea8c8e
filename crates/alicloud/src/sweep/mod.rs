//! Deleting what builds made, from a ledger or by its mark.
//!
//! ```text
//! kind             deleted by                      found again by
//! eip              Unassociate, ReleaseEipAddress  its ClientToken: it can carry no mark, so the call is made again
//! instance         DeleteInstance                  tag
//! image            DeleteImage, DeleteSnapshot     tag
//! snapshot         DeleteSnapshot                  tag
//! security_group   DeleteSecurityGroup             tag
//! vswitch          DeleteVSwitch                   description
//! vpc              DeleteVpc                       description
//! key_pair         DeleteKeyPairs                  tag
//! upload, object   of OSS                          bucket and key
//! bucket           of OSS                          name, while nothing is in it
//! ```
//!
//! What an id is not known of was asked for, and its answer was lost: it is looked for, more than once, because a call may
//! still be on its way. Something else that still uses a resource and is going away itself is waited for.

mod find;
mod remove;

use std::collections::BTreeMap;

use kiln_ledger::Resource;
use kiln_ledger::sweep::{Cloud, Gone, SweepError};

use crate::account::CLOUD;
use crate::client::Client;
use crate::ecs::Mark;
use crate::{AlicloudError, Stop};

/// Kinds of resources, what depends on others first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A copy of an image is given up before the image.
    Image,
    /// A disk's state.
    Snapshot,
    /// An elastic address.
    Eip,
    /// A machine.
    Instance,
    /// Who may talk to it.
    SecurityGroup,
    /// Its part of a network.
    VSwitch,
    /// Its network.
    Vpc,
    /// Who logs in.
    KeyPair,
    /// An upload in parts that is not ended.
    Upload,
    /// An object.
    Object,
    /// What objects are in.
    Bucket,
}

impl Kind {
    const ALL: [(Kind, &'static str, &'static str); 11] = [
        (Kind::Image, "image", "DeleteImage"),
        (Kind::Snapshot, "snapshot", "DeleteSnapshot"),
        (Kind::Eip, "eip", "ReleaseEipAddress"),
        (Kind::Instance, "instance", "DeleteInstance"),
        (Kind::SecurityGroup, "security_group", "DeleteSecurityGroup"),
        (Kind::VSwitch, "vswitch", "DeleteVSwitch"),
        (Kind::Vpc, "vpc", "DeleteVpc"),
        (Kind::KeyPair, "key_pair", "DeleteKeyPairs"),
        (Kind::Upload, "upload", "AbortMultipartUpload"),
        (Kind::Object, "object", "DeleteObject"),
        (Kind::Bucket, "bucket", "DeleteBucket"),
    ];

    /// As ledgers have it.
    pub fn name(self) -> &'static str {
        Kind::ALL.iter().find(|(kind, ..)| *kind == self).map_or("", |(_, name, _)| name)
    }

    /// The kind of this name.
    pub fn by_name(name: &str) -> Option<Kind> {
        Kind::ALL.iter().find(|(_, known, _)| *known == name).map(|(kind, ..)| *kind)
    }

    /// A line for the ledger, before it is made.
    pub fn intended(self, name: &str, region: &str, mark: &Mark) -> Resource {
        let call = Kind::ALL.iter().find(|(kind, ..)| *kind == self).map_or("", |(.., call)| call);
        let scope = [("region", region), ("build", mark.build())];
        Resource {
            cloud: CLOUD.to_owned(),
            kind: self.name().to_owned(),
            name: name.to_owned(),
            id: None,
            scope: scope.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>(),
            delete: format!("{call} in {region}, of {name}"),
        }
    }
}

/// Deletes and finds.
#[derive(Debug, Clone)]
pub struct Sweeper {
    client: Client,
}

impl Sweeper {
    /// With the rights of this client.
    pub fn new(client: Client) -> Sweeper {
        Sweeper { client }
    }

    fn told(resource: &Resource, error: &AlicloudError) -> SweepError {
        let id = resource.id.as_deref().unwrap_or(&resource.name);
        SweepError { message: format!("{} {id}: {error}", resource.kind), hint: error.hint() }
    }
}

impl Cloud for Sweeper {
    fn delete(&self, resource: &Resource, cancelled: Stop<'_>) -> Result<Gone, SweepError> {
        self.remove(resource, cancelled).map_err(|error| Sweeper::told(resource, &error))
    }

    fn find(&self, build: Option<&str>) -> Result<Vec<Resource>, SweepError> {
        let failed = |error: AlicloudError| SweepError { message: error.to_string(), hint: error.hint() };
        self.marked(build, &|| false).map_err(failed)
    }

    fn rank(&self, kind: &str) -> usize {
        // What this version does not know is told last.
        Kind::by_name(kind).map_or(Kind::ALL.len(), |kind| kind as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_all_kinds_in_the_order_in_which_they_go() {
        let order: Vec<usize> = Kind::ALL.iter().map(|(kind, ..)| *kind as usize).collect();
        assert_eq!(order, (0..Kind::ALL.len()).collect::<Vec<_>>());
    }
}
