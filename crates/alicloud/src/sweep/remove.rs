//! One resource: found again if need be, deleted, and waited for.

use std::time::Duration;

use kiln_ledger::Resource;
use kiln_ledger::poll::Backoff;
use kiln_ledger::sweep::Gone;

use super::{Kind, Sweeper};
use crate::client::{Call, Client};
use crate::ecs::network::EipOrder;
use crate::ecs::wait::{self, SHORT, Sight};
use crate::{AlicloudError, Refusal, Result, Stop};

/// How often something without an id is looked for.
const LOOKS: usize = 3;

/// What still uses something that is deleted, and is going away itself.
const IN_USE: &[&str] = &[
    "DependencyViolation",
    "TaskConflict",
    "IncorrectStatus",
    "OperationConflict",
    "IncorrectVSwitchStatus",
    "IncorrectVpcStatus",
    "IncorrectRouteEntryStatus",
    "IncorrectInstanceStatus",
    "IncorrectEipStatus",
    "Forbbiden",
];

impl Sweeper {
    pub(super) fn remove(&self, resource: &Resource, stop: Stop<'_>) -> Result<Gone> {
        let scope = |name: &str| resource.scope.get(name).map(String::as_str);
        let Some(kind) = Kind::by_name(&resource.kind) else {
            let what = format!("`{}` is no kind of resource that this version knows", resource.kind);
            return Err(AlicloudError::Setting { what, hint: Some(format!("delete it by hand: {}", resource.delete)) });
        };
        let client = match scope("region") {
            Some(region) => self.client.in_region(region)?,
            None => self.client.clone(),
        };
        if matches!(kind, Kind::Upload | Kind::Object | Kind::Bucket) {
            return crate::oss::remove(&client, kind, resource, stop);
        }
        let id = match &resource.id {
            Some(id) => Some(id.clone()),
            None => look_again(&client, kind, resource, stop)?,
        };
        match id {
            Some(id) => by_id(&client, kind, &id, scope("copy").is_some(), stop),
            None => Ok(Gone::WasNotThere),
        }
    }
}

/// Looks for something whose id was never told.
fn look_again(client: &Client, kind: Kind, resource: &Resource, stop: Stop<'_>) -> Result<Option<String>> {
    if kind == Kind::Eip {
        return again_by_token(client, resource, stop).map(Some);
    }
    let mut backoff = Backoff::new(SHORT);
    for look in 1..=LOOKS {
        if let Some(id) = named(client, kind, resource, stop)? {
            return Ok(Some(id));
        }
        if look < LOOKS && backoff.wait(stop).is_err() {
            return Err(AlicloudError::Cancelled);
        }
    }
    Ok(None)
}

/// The call that made the address is made again with its token: it tells of the same address, or takes one that is given
/// back at once.
fn again_by_token(client: &Client, resource: &Resource, stop: Stop<'_>) -> Result<String> {
    let scope = |name: &str| resource.scope.get(name).cloned();
    let bandwidth = scope("bandwidth").and_then(|text| text.parse().ok()).unwrap_or(5);
    let charge = scope("charge").unwrap_or_else(|| "PayByTraffic".to_owned());
    client.allocate_eip(&resource.name, &EipOrder { bandwidth, charge }, stop).map(|(id, _)| id)
}

fn named(client: &Client, kind: Kind, resource: &Resource, stop: Stop<'_>) -> Result<Option<String>> {
    let name = &resource.name;
    let Some(build) = resource.scope.get("build") else { return Ok(None) };
    let found = super::find::of_kind(client, kind, Some(build), stop)?;
    Ok(found.into_iter().find(|found| found.name == *name).map(|found| found.id))
}

fn by_id(client: &Client, kind: Kind, id: &str, is_copy: bool, stop: Stop<'_>) -> Result<Gone> {
    match kind {
        Kind::Instance => instance(client, id, stop),
        Kind::Eip => eip(client, id, stop),
        Kind::Image => image(client, id, is_copy, stop),
        Kind::Snapshot => {
            simple(client, Call::new("DeleteSnapshot").with("SnapshotId", id).with("Force", "true"), stop)
        }
        Kind::SecurityGroup => simple(client, Call::new("DeleteSecurityGroup").with("SecurityGroupId", id), stop),
        Kind::VSwitch => simple(client, Call::new("DeleteVSwitch").with("VSwitchId", id), stop),
        Kind::Vpc => simple(client, Call::new("DeleteVpc").with("VpcId", id), stop),
        Kind::KeyPair => simple(client, Call::new("DeleteKeyPairs").with("KeyPairNames", format!("[\"{id}\"]")), stop),
        Kind::Upload | Kind::Object | Kind::Bucket => Ok(Gone::WasNotThere),
    }
}

fn simple(client: &Client, call: Call, stop: Stop<'_>) -> Result<Gone> {
    gone(client.call(&call.again(IN_USE), stop).map(drop))
}

/// What is not there any more was deleted by a call whose answer was lost, or by somebody else.
fn gone(result: Result<()>) -> Result<Gone> {
    match result {
        Ok(()) => Ok(Gone::Deleted),
        Err(AlicloudError::Refused { refusal, .. }) if refusal.is_absence() && refusal.repeated => Ok(Gone::Deleted),
        Err(error) if error.refusal().is_some_and(Refusal::is_absence) => Ok(Gone::WasNotThere),
        Err(error) => Err(error),
    }
}

fn instance(client: &Client, id: &str, stop: Stop<'_>) -> Result<Gone> {
    let done = simple(client, Call::new("DeleteInstance").with("InstanceId", id).with("Force", "true"), stop)?;
    if done == Gone::Deleted {
        wait::until(&format!("the instance {id}"), "gone", SHORT, stop, || {
            Ok(client.instance(id, stop)?.map_or(Sight::There(()), |instance| Sight::Not(instance.status)))
        })?;
    }
    Ok(done)
}

fn eip(client: &Client, id: &str, stop: Stop<'_>) -> Result<Gone> {
    // What is changing hands is waited for: only what rests can be taken away.
    let resting = wait::until(&format!("the address {id}"), "at rest", SHORT, stop, || {
        Ok(match client.eip(id, stop)? {
            Some(eip) if eip.status.ends_with("ing") => Sight::Not(eip.status),
            seen => Sight::There(seen),
        })
    })?;
    let Some(eip) = resting else { return Ok(Gone::WasNotThere) };
    if eip.status == "InUse" || !eip.instance_id.is_empty() {
        client.free_eip(id, &eip.instance_id, stop)?;
    }
    simple(client, Call::new("ReleaseEipAddress").with("AllocationId", id), stop)
}

fn image(client: &Client, id: &str, is_copy: bool, stop: Stop<'_>) -> Result<Gone> {
    let Some(image) = client.image(id, stop)? else { return Ok(Gone::WasNotThere) };
    if is_copy && !matches!(&*image.status, "Available" | "CreateFailed") {
        // A copy that has just ended cannot be given up, and is deleted.
        match client.call(&Call::new("CancelCopyImage").with("ImageId", id), stop) {
            Err(error) if error.refusal().is_some() => {}
            other => drop(other?),
        }
    }
    client.delete_image(id, true, stop)?;
    for snapshot in image.snapshots() {
        client.delete_snapshot(&snapshot, stop)?;
    }
    wait::until(&format!("the image {id}"), "gone", Duration::from_secs(600), stop, || {
        Ok(client.image(id, stop)?.map_or(Sight::There(()), |image| Sight::Not(image.status)))
    })?;
    Ok(Gone::Deleted)
}
