//! Images and snapshots.

use std::time::Duration;

use serde::Deserialize;

use super::instance::Disk;
use super::network::Tags;
use super::wait::{self, Sight};
use crate::client::{Call, Client};
use crate::{AlicloudError, Result, Stop};

/// Every state an image can be in; without them only those that can be used are told.
const STATES: &str = "Waiting,Creating,CreateFailed,Available";

/// An image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Image {
    /// `m-…`, or the name of a public one.
    pub image_id: String,
    /// Its name.
    pub image_name: String,
    /// `Waiting`, `Creating`, `Available`, `CreateFailed`.
    pub status: String,
    /// `35%`.
    pub progress: String,
    /// In GiB.
    pub size: u64,
    /// `x86_64`, `arm64`.
    pub architecture: String,
    /// `BIOS`, `UEFI`.
    pub boot_mode: String,
    /// What it is made of.
    pub disk_device_mappings: Mappings,
    /// Its tags.
    pub tags: Tags,
}

/// The disks of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Mappings {
    /// Each.
    pub disk_device_mapping: Vec<Mapping>,
}

/// A disk of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Mapping {
    /// Its snapshot.
    pub snapshot_id: String,
    /// `/dev/xvda`.
    pub device: String,
}

impl Image {
    /// Its snapshots.
    pub fn snapshots(&self) -> Vec<String> {
        let ids = self.disk_device_mappings.disk_device_mapping.iter().map(|disk| disk.snapshot_id.clone());
        ids.filter(|id| !id.is_empty()).collect()
    }
}

/// A snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Snapshot {
    /// `s-…`.
    pub snapshot_id: String,
    /// Its name.
    pub snapshot_name: String,
    /// `progressing`, `accomplished`, `failed`.
    pub status: String,
    /// `30%`.
    pub progress: String,
    /// Its tags.
    pub tags: Tags,
}

/// What an image is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// All disks of a machine.
    Instance(String),
    /// One disk's snapshot.
    Snapshot(String),
    /// These disks: snapshots, and empty ones.
    Disks(Vec<Disk>),
}

/// What an image is to be.
#[derive(Debug, Clone)]
pub struct ImageOrder {
    /// Its name.
    pub name: String,
    /// What it is made of.
    pub origin: Origin,
    /// Free text.
    pub description: Option<String>,
    /// Free text.
    pub version: Option<String>,
    /// The family it is the newest of.
    pub family: Option<String>,
    /// `BIOS`, `UEFI`, `UEFI-Preferred`.
    pub boot_mode: Option<String>,
    /// The group of resources it belongs to.
    pub resource_group: Option<String>,
    /// Its tags.
    pub tags: Vec<(String, String)>,
}

/// What a copy is to be.
#[derive(Debug, Clone)]
pub struct CopyOrder {
    /// The image.
    pub image: String,
    /// The region it goes to.
    pub region: String,
    /// Its name there.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// Whether it is encrypted there.
    pub encrypted: bool,
    /// With which key.
    pub key: Option<String>,
    /// Its tags.
    pub tags: Vec<(String, String)>,
}

impl Client {
    /// Images that a call names, in whatever state.
    ///
    /// # Errors
    /// Those of the call.
    pub fn images(&self, call: Call, stop: Stop<'_>) -> Result<Vec<Image>> {
        self.list(&call.with("Status", STATES), "/Images/Image", stop)
    }

    /// An image by its id, in whatever state: one's own, or a public one.
    ///
    /// # Errors
    /// Those of the call.
    pub fn image(&self, id: &str, stop: Stop<'_>) -> Result<Option<Image>> {
        let all = self.images(Call::new("DescribeImages").with("ImageId", id), stop)?;
        Ok(all.into_iter().find(|image| image.image_id == id))
    }

    /// An image to start from: one's own, a public one, or one of the marketplace.
    ///
    /// # Errors
    /// Those of the calls.
    pub fn source_image(&self, id: &str, stop: Stop<'_>) -> Result<Option<Image>> {
        if let Some(image) = self.image(id, stop)? {
            return Ok(Some(image));
        }
        let call = Call::new("DescribeImages").with("ImageId", id).with("ImageOwnerAlias", "marketplace");
        Ok(self.images(call, stop)?.into_iter().next())
    }

    /// The account's own images of a name.
    ///
    /// # Errors
    /// Those of the call.
    pub fn images_named(&self, name: &str, stop: Stop<'_>) -> Result<Vec<Image>> {
        let all =
            self.images(Call::new("DescribeImages").with("ImageName", name).with("ImageOwnerAlias", "self"), stop)?;
        // `*` in a name stands for others.
        Ok(all.into_iter().filter(|image| image.image_name == name).collect())
    }

    /// The newest image of a family.
    ///
    /// # Errors
    /// Those of the call.
    pub fn image_of_family(&self, family: &str, stop: Stop<'_>) -> Result<Option<Image>> {
        let answer = self.call(&Call::new("DescribeImageFromFamily").with("ImageFamily", family), stop)?;
        let image: Option<Image> = answer.get("Image").cloned().and_then(|image| serde_json::from_value(image).ok());
        Ok(image.filter(|image| !image.image_id.is_empty()))
    }

    /// Begins to make an image.
    ///
    /// # Errors
    /// Those of the call.
    pub fn create_image(&self, token: &str, order: &ImageOrder, stop: Stop<'_>) -> Result<String> {
        let call = Call::new("CreateImage")
            .with("ClientToken", token)
            .with("ImageName", &order.name)
            .maybe("Description", order.description.as_deref())
            .maybe("ImageVersion", order.version.as_deref())
            .maybe("ImageFamily", order.family.as_deref())
            .maybe("BootMode", order.boot_mode.as_deref())
            .maybe("ResourceGroupId", order.resource_group.as_deref())
            .tags(&order.tags)
            .again(&["IdempotentProcessing", "IncorrectInstanceStatus.Initializing"]);
        let call = match &order.origin {
            Origin::Instance(id) => call.with("InstanceId", id),
            Origin::Snapshot(id) => call.with("SnapshotId", id),
            Origin::Disks(disks) => disks.iter().enumerate().fold(call, |call, (n, disk)| {
                let name = |part: &str| format!("DiskDeviceMapping.{}.{part}", n + 1);
                call.maybe(&name("SnapshotId"), disk.snapshot.as_deref())
                    .maybe(&name("Size"), disk.size.map(|size| size.to_string()))
                    .maybe(&name("Device"), disk.device.as_deref())
                    .with(&name("DiskType"), if n == 0 { "system" } else { "data" })
            }),
        };
        self.text(&call, "/ImageId", stop)
    }

    /// Begins to copy an image to a region.
    ///
    /// # Errors
    /// Those of the call.
    pub fn copy_image(&self, token: &str, order: &CopyOrder, stop: Stop<'_>) -> Result<String> {
        let call = Call::new("CopyImage")
            .with("ClientToken", token)
            .with("ImageId", &order.image)
            .with("DestinationRegionId", &order.region)
            .with("DestinationImageName", &order.name)
            .maybe("DestinationDescription", order.description.as_deref())
            .with("Encrypted", if order.encrypted { "true" } else { "false" })
            .maybe("KMSKeyId", order.key.as_deref())
            .tags(&order.tags)
            .again(&["IdempotentProcessing"]);
        self.text(&call, "/ImageId", stop)
    }

    /// An image, once it can be used; `told` hears how far it is.
    ///
    /// # Errors
    /// Those of the call; that it takes too long, that it failed.
    pub fn image_available(&self, id: &str, limit: Duration, told: &dyn Fn(&str), stop: Stop<'_>) -> Result<Image> {
        let what = format!("the image {id} in {}", self.region());
        let mut last = String::new();
        wait::until(&what, "Available", limit, stop, || match self.image(id, stop)? {
            Some(image) if image.status == "Available" => Ok(Sight::There(image)),
            Some(image) if image.status == "CreateFailed" => {
                Err(AlicloudError::Failed { what: what.clone(), state: image.status, why: None })
            }
            Some(image) => {
                let progress = kiln_http::printable(&image.progress);
                if !progress.is_empty() && progress != last && progress != "0%" {
                    told(&format!("image {id}: {progress}"));
                    last = progress;
                }
                Ok(Sight::Not(image.status))
            }
            None => Ok(Sight::Not("not there".to_owned())),
        })
    }

    /// Who else may use an image.
    ///
    /// # Errors
    /// Those of the call.
    pub fn share_image(&self, id: &str, add: &[String], remove: &[String], stop: Stop<'_>) -> Result<()> {
        let call = Call::new("ModifyImageSharePermission").with("ImageId", id);
        self.call(&call.list("AddAccount", add).list("RemoveAccount", remove), stop).map(drop)
    }

    /// Deletes an image, with `force` also while machines made of it are there.
    ///
    /// # Errors
    /// Those of the call.
    pub fn delete_image(&self, id: &str, force: bool, stop: Stop<'_>) -> Result<()> {
        let call = Call::new("DeleteImage").with("ImageId", id).with("Force", if force { "true" } else { "false" });
        absent_is_fine(self.call(&call.again(&["IncorrectImageStatus"]), stop))
    }

    /// Deletes a snapshot.
    ///
    /// # Errors
    /// Those of the call.
    pub fn delete_snapshot(&self, id: &str, stop: Stop<'_>) -> Result<()> {
        let call = Call::new("DeleteSnapshot").with("SnapshotId", id).with("Force", "true");
        absent_is_fine(self.call(&call.again(&["SnapshotCreatedImage", "IncorrectDiskStatus"]), stop))
    }

    /// The system disk of a machine.
    ///
    /// # Errors
    /// Those of the call, and that it has none.
    pub fn system_disk(&self, instance: &str, stop: Stop<'_>) -> Result<String> {
        let call = Call::new("DescribeDisks").with("InstanceId", instance).with("DiskType", "system");
        self.text(&call, "/Disks/Disk/0/DiskId", stop)
    }

    /// Begins to make a snapshot of a disk.
    ///
    /// # Errors
    /// Those of the call.
    pub fn create_snapshot(
        &self,
        token: &str,
        disk: &str,
        name: &str,
        tags: &[(String, String)],
        stop: Stop<'_>,
    ) -> Result<String> {
        let call =
            Call::new("CreateSnapshot").with("ClientToken", token).with("DiskId", disk).with("SnapshotName", name);
        self.text(&call.tags(tags).again(&["IdempotentProcessing"]), "/SnapshotId", stop)
    }

    /// Snapshots: of ids, of a mark, of a name.
    ///
    /// # Errors
    /// Those of the call.
    pub fn snapshots(&self, call: Call, stop: Stop<'_>) -> Result<Vec<Snapshot>> {
        self.list(&call, "/Snapshots/Snapshot", stop)
    }

    /// Waits until a snapshot is whole.
    ///
    /// # Errors
    /// Those of the call; that it takes too long, that it failed.
    pub fn snapshot_accomplished(&self, id: &str, limit: Duration, stop: Stop<'_>) -> Result<()> {
        let what = format!("the snapshot {id}");
        wait::until(&what, "accomplished", limit, stop, || {
            let all =
                self.snapshots(Call::new("DescribeSnapshots").with("SnapshotIds", format!("[\"{id}\"]")), stop)?;
            match all.into_iter().find(|snapshot| snapshot.snapshot_id == id) {
                Some(snapshot) if snapshot.status == "accomplished" => Ok(Sight::There(())),
                Some(snapshot) if snapshot.status == "failed" => {
                    Err(AlicloudError::Failed { what: what.clone(), state: snapshot.status, why: None })
                }
                Some(snapshot) => Ok(Sight::Not(snapshot.status)),
                None => Ok(Sight::Not("not there".to_owned())),
            }
        })
    }

    /// Puts tags on resources of one kind: `image`, `snapshot`, …
    ///
    /// # Errors
    /// Those of the call.
    pub fn tag(&self, kind: &str, ids: &[String], tags: &[(String, String)], stop: Stop<'_>) -> Result<()> {
        let call = Call::new("TagResources").with("ResourceType", kind).list("ResourceId", ids).tags(tags);
        self.call(&call, stop).map(drop)
    }

    /// Takes the mark of a build off what stays.
    ///
    /// # Errors
    /// Those of the call.
    pub fn unmark(&self, kind: &str, ids: &[String], stop: Stop<'_>) -> Result<()> {
        let call = Call::new("UntagResources")
            .with("ResourceType", kind)
            .list("ResourceId", ids)
            .list("TagKey", &[super::TAG]);
        self.call(&call, stop).map(drop)
    }
}

fn absent_is_fine(result: Result<serde_json::Value>) -> Result<()> {
    match result {
        Err(error) if error.refusal().is_some_and(crate::Refusal::is_absence) => Ok(()),
        other => other.map(drop),
    }
}
