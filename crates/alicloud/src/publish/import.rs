//! The image: imported from the object, shared, copied to other regions.

use kiln_ledger::Entry;

use super::disk::Disk;
use super::{Work, ledger};
use crate::client::{Call, Client, Service};
use crate::ecs::image::CopyOrder;
use crate::sweep::Kind;
use crate::{AlicloudError, Result};

/// The role by which ECS reads OSS; its name is given by ECS.
const ROLE: &str = "AliyunECSImageImportDefaultRole";
const POLICY: &str = "AliyunECSImageImportRolePolicy";
const TRUST: &str = r#"{"Statement":[{"Action":"sts:AssumeRole","Effect":"Allow","Principal":{"Service":["ecs.aliyuncs.com"]}}],"Version":"1"}"#;
const NO_ROLE: &[&str] = &["NoSetRoletoECSServiceAcount", "NoSetRoletoECSServiceAccount"];

/// What can be known before anything is made: regions, and images of the same name.
pub(super) fn check(work: &Work<'_>, disk: &Disk) -> Result<()> {
    let order = work.order;
    (work.told)(&format!("{}: {}, a disk of {} GiB", order.disk.display(), disk.format.extension(), disk.gib));
    for region in std::iter::once(&work.client.region().to_owned()).chain(&order.regions) {
        let client = work.client.in_region(region)?;
        let taken = client.images_named(&order.name, work.stop)?;
        if let (Some(image), false) = (taken.first(), order.force) {
            let what = format!("an image `{}` is in {region} already: {}", order.name, image.image_id);
            return Err(AlicloudError::setting(what, "choose another name, or let it be deleted: --force"));
        }
    }
    Ok(())
}

fn make_way(work: &Work<'_>, client: &Client) -> Result<()> {
    for image in client.images_named(&work.order.name, work.stop)? {
        (work.told)(&format!("Deleting image {} ({}) in {}...", image.image_name, image.image_id, client.region()));
        client.delete_image(&image.image_id, false, work.stop)?;
    }
    Ok(())
}

/// Imports, waits, shares, copies. The images stay when this returns.
pub(super) fn run(work: &Work<'_>, disk: &Disk, key: &str) -> Result<Vec<(String, String)>> {
    let (order, client) = (work.order, work.client);
    if order.force {
        make_way(work, client)?;
    }
    (work.told)(&format!("Importing image {} in {}...", order.name, client.region()));
    let entry = ledger(work.book.intend(Kind::Image.intended(&order.name, client.region(), &work.mark)))?;
    let id = settle(work, &entry, import(work, disk, key))?;
    client.image_available(&id, order.limit, work.told, work.stop)?;
    let mut made = vec![(client.clone(), id.clone(), entry)];
    for region in order.regions.iter().filter(|region| *region != client.region()) {
        let there = client.in_region(region)?;
        if order.force {
            make_way(work, &there)?;
        }
        (work.told)(&format!("Copying image {id} to {region}..."));
        let mut line = Kind::Image.intended(&order.name, region, &work.mark);
        line.scope.insert("copy".to_owned(), "yes".to_owned());
        let entry = ledger(work.book.intend(line))?;
        let copy = CopyOrder {
            image: id.clone(),
            region: region.clone(),
            name: order.name.clone(),
            description: order.description.clone(),
            encrypted: order.encrypted,
            key: order.kms_key.clone(),
            tags: tags(work),
        };
        let copied = settle(work, &entry, client.copy_image(&crate::sign::nonce(), &copy, work.stop))?;
        made.push((there, copied, entry));
    }
    for (there, id, _) in &made {
        there.image_available(id, order.limit, work.told, work.stop)?;
        if !order.share.is_empty() {
            there.share_image(id, &order.share, &[], work.stop)?;
        }
    }
    for (there, id, _) in &made {
        there.unmark("image", std::slice::from_ref(id), work.stop)?;
    }
    // All of them, or none: a wish to stop is heard before.
    for (.., entry) in &made {
        ledger(work.book.strike(entry))?;
    }
    Ok(made.into_iter().map(|(there, id, _)| (there.region().to_owned(), id)).collect())
}

/// Writes down what came of a call that makes something.
fn settle(work: &Work<'_>, entry: &Entry, result: Result<String>) -> Result<String> {
    match &result {
        Ok(id) => ledger(work.book.made(entry, id))?,
        Err(error) if error.is_definite() => ledger(work.book.strike(entry))?,
        Err(_) => {}
    }
    result
}

fn tags(work: &Work<'_>) -> Vec<(String, String)> {
    std::iter::once(work.mark.tag()).chain(work.order.tags.iter().cloned()).collect()
}

fn import(work: &Work<'_>, disk: &Disk, key: &str) -> Result<String> {
    let order = work.order;
    let name = |part: &str| format!("DiskDeviceMapping.1.{part}");
    let call = Call::new("ImportImage")
        .with("ImageName", &order.name)
        .with("OSType", "linux")
        .with("Architecture", &order.architecture)
        .with("Platform", &order.platform)
        .with(&name("OSSBucket"), &order.bucket)
        .with(&name("OSSObject"), key)
        .with(&name("Format"), disk.format.word())
        .with(&name("DiskImageSize"), disk.gib.max(5).to_string())
        .maybe("Description", order.description.as_deref())
        .maybe("BootMode", order.boot_mode.as_deref())
        .maybe("ImageFamily", order.family.as_deref())
        .tags(&tags(work));
    let ask = || match work.client.text(&call, "/ImageId", work.stop) {
        // A lost answer: names are unique, so the image of this name is that of the first call.
        Err(error) if error.refusal().is_some_and(|r| r.repeated && r.is(&["InvalidImageName.Duplicated"])) => {
            let found = work.client.images_named(&order.name, work.stop)?.into_iter().next();
            found.map(|image| image.image_id).ok_or(error)
        }
        other => other,
    };
    match ask() {
        Err(error) if error.is(NO_ROLE) && order.make_role => {
            (work.told)(&format!("Creating RAM role {ROLE}; it stays..."));
            make_role(work)?;
            ask()
        }
        other => other,
    }
}

fn make_role(work: &Work<'_>) -> Result<()> {
    let create = Call::new("CreateRole")
        .of(Service::Ram)
        .with("RoleName", ROLE)
        .with("Description", "Lets ECS import images from OSS")
        .with("AssumeRolePolicyDocument", TRUST);
    let attach = Call::new("AttachPolicyToRole")
        .of(Service::Ram)
        .with("PolicyType", "System")
        .with("PolicyName", POLICY)
        .with("RoleName", ROLE);
    for (call, there) in [(create, "EntityAlreadyExists.Role"), (attach, "EntityAlreadyExists.Role.Policy")] {
        match work.client.call(&call, work.stop) {
            Err(error) if error.is(&[there]) => {}
            other => drop(other?),
        }
    }
    Ok(())
}
