//! Machines.

use kiln_http::Secret;
use serde::Deserialize;

use super::network::Tags;
use super::wait::{self, LONG, Sight};
use crate::client::{Call, Client};
use crate::{AlicloudError, Result, Stop};

/// A machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Instance {
    /// `i-…`.
    pub instance_id: String,
    /// Its name.
    pub instance_name: String,
    /// `Pending`, `Starting`, `Running`, `Stopping`, `Stopped`.
    pub status: String,
    /// Its addresses within its network.
    pub vpc_attributes: VpcAttributes,
    /// Its elastic address.
    pub eip_address: EipAddress,
    /// Its tags.
    pub tags: Tags,
}

/// Where a machine is in its network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VpcAttributes {
    /// Its addresses.
    pub private_ip_address: Addresses,
}

/// A list of addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Addresses {
    /// Each.
    pub ip_address: Vec<String>,
}

/// An elastic address that a machine has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EipAddress {
    /// `eip-…`.
    pub allocation_id: String,
    /// The address.
    pub ip_address: String,
}

/// A disk of a machine or image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disk {
    /// Its name.
    pub name: Option<String>,
    /// `cloud_essd`, `cloud_ssd`, …
    pub category: Option<String>,
    /// In GiB.
    pub size: Option<u64>,
    /// What it begins as.
    pub snapshot: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// Whether it goes with its machine.
    pub delete_with_instance: Option<bool>,
    /// `/dev/xvdb`, …
    pub device: Option<String>,
    /// Whether it is encrypted.
    pub encrypted: Option<bool>,
}

impl Disk {
    fn into_call(self, call: Call, prefix: &str, is_system: bool) -> Call {
        let name = |part: &str| format!("{prefix}.{part}");
        let flag = |value: bool| if value { "true" } else { "false" };
        let call = call
            .maybe(&name("DiskName"), self.name)
            .maybe(&name("Category"), self.category)
            .maybe(&name("Size"), self.size.map(|size| size.to_string()))
            .maybe(&name("Description"), self.description)
            .maybe(&name("Encrypted"), self.encrypted.map(flag));
        if is_system {
            return call;
        }
        call.maybe(&name("SnapshotId"), self.snapshot)
            .maybe(&name("DeleteWithInstance"), self.delete_with_instance.map(flag))
            .maybe(&name("Device"), self.device)
    }
}

/// What a machine is to be.
#[derive(Debug, Clone, Default)]
pub struct Order {
    /// The image it starts from.
    pub image: String,
    /// `ecs.g7.large`.
    pub kind: String,
    /// The part of a network it is in.
    pub vswitch: String,
    /// Who may talk to it.
    pub group: String,
    /// Who logs in.
    pub key_pair: Option<String>,
    /// Its name.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// What cloud-init reads, in base64: the host key is in it.
    pub user_data: Option<Secret>,
    /// The password of its user.
    pub password: Option<Secret>,
    /// The role that it has itself.
    pub role: Option<String>,
    /// `optimized`, `none`.
    pub io: Option<String>,
    /// `Active`, `Deactive`.
    pub enhancement: Option<String>,
    /// The group of resources it belongs to.
    pub resource_group: Option<String>,
    /// Its first disk.
    pub system: Disk,
    /// Its other disks.
    pub disks: Vec<Disk>,
    /// Its tags.
    pub tags: Vec<(String, String)>,
}

impl Order {
    fn call(&self, token: &str) -> Call {
        let call = Call::new("RunInstances")
            .with("ClientToken", token)
            .with("ImageId", &self.image)
            .with("InstanceType", &self.kind)
            .with("VSwitchId", &self.vswitch)
            .with("SecurityGroupId", &self.group)
            .with("InstanceName", &self.name)
            .with("InstanceChargeType", "PostPaid")
            // It gets an elastic address or none, and with one of its own it could not.
            .with("InternetMaxBandwidthOut", "0")
            .with("Amount", "1")
            .maybe("KeyPairName", self.key_pair.as_deref())
            .maybe("Description", self.description.as_deref())
            .maybe("UserData", self.user_data.as_ref().map(Secret::expose))
            .maybe("Password", self.password.as_ref().map(Secret::expose))
            .maybe("RamRoleName", self.role.as_deref())
            .maybe("IoOptimized", self.io.as_deref())
            .maybe("SecurityEnhancementStrategy", self.enhancement.as_deref())
            .maybe("ResourceGroupId", self.resource_group.as_deref())
            .tags(&self.tags)
            .again(&["IdempotentProcessing", "IncorrectVSwitchStatus"]);
        let call = self.system.clone().into_call(call, "SystemDisk", true);
        let disks = self.disks.iter().cloned().enumerate();
        disks.fold(call, |call, (n, disk)| disk.into_call(call, &format!("DataDisk.{}", n + 1), false))
    }
}

impl Client {
    /// Makes and starts a machine.
    ///
    /// # Errors
    /// Those of the call.
    pub fn run_instance(&self, token: &str, order: &Order, stop: Stop<'_>) -> Result<String> {
        self.text(&order.call(token), "/InstanceIdSets/InstanceIdSet/0", stop)
    }

    /// Whether a machine could be made so, without making it.
    ///
    /// # Errors
    /// Why not.
    pub fn try_instance(&self, order: &Order, stop: Stop<'_>) -> Result<()> {
        match self.call(&order.call(&crate::sign::nonce()).with("DryRun", "true"), stop) {
            Err(error) if error.is(&["DryRunOperation"]) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(AlicloudError::Protocol {
                action: "RunInstances".to_owned(),
                why: "it does not know DryRun, and may have made a machine".to_owned(),
            }),
        }
    }

    /// Machines: of ids, of a mark, of a name.
    ///
    /// # Errors
    /// Those of the call.
    pub fn instances(&self, call: Call, stop: Stop<'_>) -> Result<Vec<Instance>> {
        self.list(&call, "/Instances/Instance", stop)
    }

    /// One machine.
    ///
    /// # Errors
    /// Those of the call.
    pub fn instance(&self, id: &str, stop: Stop<'_>) -> Result<Option<Instance>> {
        let all = self.instances(Call::new("DescribeInstances").with("InstanceIds", format!("[\"{id}\"]")), stop)?;
        Ok(all.into_iter().find(|instance| instance.instance_id == id))
    }

    /// A machine, once it is `Running` or `Stopped`.
    ///
    /// # Errors
    /// Those of the call; that it takes too long; that it is gone.
    pub fn instance_is(&self, id: &str, wanted: &'static str, stop: Stop<'_>) -> Result<Instance> {
        let mut seen = false;
        let what = format!("the instance {id}");
        wait::until(&what, wanted, LONG, stop, || match self.instance(id, stop)? {
            Some(instance) if instance.status == wanted => Ok(Sight::There(instance)),
            Some(instance) => {
                seen = true;
                Ok(Sight::Not(instance.status))
            }
            // It is known a moment after it is made; later somebody has deleted it.
            None if seen => Err(AlicloudError::Failed {
                what: what.clone(),
                state: "gone".to_owned(),
                why: Some("somebody or a spending limit released it".to_owned()),
            }),
            None => Ok(Sight::Not("not there".to_owned())),
        })
    }

    /// Ends a machine's system; with `force` by its power.
    ///
    /// # Errors
    /// Those of the call.
    pub fn stop_instance(&self, id: &str, force: bool, stop: Stop<'_>) -> Result<()> {
        let call =
            Call::new("StopInstance").with("InstanceId", id).with("ForceStop", if force { "true" } else { "false" });
        match self.call(&call, stop) {
            Err(error) if error.refusal().is_some_and(|r| r.repeated && r.is(&["IncorrectInstanceStatus"])) => Ok(()),
            other => other.map(drop),
        }
    }
}
