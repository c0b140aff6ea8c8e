//! Everything that carries a mark.

use kiln_ledger::Resource;

use super::{Kind, Sweeper};
use crate::client::{Call, Client};
use crate::ecs::{Mark, TAG};
use crate::{Result, Stop};

/// Kinds that can carry a mark.
const MARKED: [Kind; 7] =
    [Kind::Image, Kind::Snapshot, Kind::Instance, Kind::SecurityGroup, Kind::VSwitch, Kind::Vpc, Kind::KeyPair];

/// Something of a build.
pub(super) struct Found {
    pub(super) name: String,
    pub(super) id: String,
    build: String,
}

impl Sweeper {
    /// All of a build, or of any, in the client's region.
    pub(super) fn marked(&self, build: Option<&str>, stop: Stop<'_>) -> Result<Vec<Resource>> {
        let mut all = Vec::new();
        for kind in MARKED {
            for found in of_kind(&self.client, kind, build, stop)? {
                let mut resource = kind.intended(&found.name, self.client.region(), &Mark::of(&found.build));
                resource.id = Some(found.id);
                all.push(resource);
            }
            if kind == Kind::Instance {
                let addresses = self.addresses(&all, stop)?;
                // They are given back before their machines.
                all.splice(0..0, addresses);
            }
        }
        Ok(all)
    }

    /// Elastic addresses can carry no mark: those of marked machines.
    fn addresses(&self, found: &[Resource], stop: Stop<'_>) -> Result<Vec<Resource>> {
        let mut all = Vec::new();
        for machine in found.iter().filter(|resource| resource.kind == Kind::Instance.name()) {
            let (Some(id), Some(build)) = (&machine.id, machine.scope.get("build")) else { continue };
            let eip =
                self.client.instance(id, stop)?.map(|machine| machine.eip_address.allocation_id).unwrap_or_default();
            if !eip.is_empty() {
                let mut resource = Kind::Eip.intended(&eip, self.client.region(), &Mark::of(build));
                resource.id = Some(eip);
                all.push(resource);
            }
        }
        Ok(all)
    }
}

fn tagged(action: &'static str, build: Option<&str>) -> Call {
    Call::new(action).with("Tag.1.Key", TAG).maybe("Tag.1.Value", build)
}

/// What of one kind carries the mark of a build, or of any.
pub(super) fn of_kind(client: &Client, kind: Kind, build: Option<&str>, stop: Stop<'_>) -> Result<Vec<Found>> {
    let found = |name: &str, id: &str, mark: Option<&str>| {
        let mark = mark.filter(|mark| build.is_none_or(|build| build == *mark))?;
        Some(Found { name: name.to_owned(), id: id.to_owned(), build: mark.to_owned() })
    };
    Ok(match kind {
        Kind::Image => {
            let all = client.images(tagged("DescribeImages", build).with("ImageOwnerAlias", "self"), stop)?;
            all.iter().filter_map(|it| found(&it.image_name, &it.image_id, it.tags.build())).collect()
        }
        Kind::Snapshot => {
            let all = client.snapshots(tagged("DescribeSnapshots", build), stop)?;
            all.iter().filter_map(|it| found(&it.snapshot_name, &it.snapshot_id, it.tags.build())).collect()
        }
        Kind::Instance => {
            let all = client.instances(tagged("DescribeInstances", build), stop)?;
            all.iter().filter_map(|it| found(&it.instance_name, &it.instance_id, it.tags.build())).collect()
        }
        Kind::SecurityGroup => {
            let all = client.security_groups(tagged("DescribeSecurityGroups", build), stop)?;
            all.iter().filter_map(|it| found(&it.security_group_name, &it.security_group_id, it.tags.build())).collect()
        }
        Kind::KeyPair => {
            let all = client.key_pairs(tagged("DescribeKeyPairs", build), stop)?;
            all.iter().filter_map(|it| found(&it.key_pair_name, &it.key_pair_name, it.tags.build())).collect()
        }
        Kind::VSwitch => {
            let all = client.vswitches(None, None, stop)?;
            all.iter().filter_map(|it| found(&it.v_switch_name, &it.v_switch_id, Mark::read(&it.description))).collect()
        }
        Kind::Vpc => {
            let all = client.vpcs(None, stop)?;
            all.iter().filter_map(|it| found(&it.vpc_name, &it.vpc_id, Mark::read(&it.description))).collect()
        }
        Kind::Eip | Kind::Upload | Kind::Object | Kind::Bucket => Vec::new(),
    })
}
