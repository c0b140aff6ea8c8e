//! What becomes of the machine: an image, its copies, who may use it.

use kiln_alicloud::ecs::check_tag;
use kiln_packer::fields::Fields;

use super::{flag, one_of, text};
use crate::error::Result;

/// Copies and accounts at the most; nobody has more regions.
const MOST: usize = 100;

/// The image.
#[derive(Debug, Clone)]
pub struct ImageConfig {
    /// Its name.
    pub name: String,
    /// Free text.
    pub version: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// The family it becomes the newest of.
    pub family: Option<String>,
    /// How machines of it boot.
    pub boot_mode: Option<String>,
    /// The group of resources it belongs to.
    pub resource_group: Option<String>,
    /// Its tags.
    pub tags: Vec<(String, String)>,
    /// Accounts that may use it.
    pub share: Vec<String>,
    /// Accounts that may no longer.
    pub unshare: Vec<String>,
    /// Copies: region, name, key of encryption.
    pub copies: Vec<Copy>,
    /// Whether it is encrypted; its copies then too.
    pub encrypted: Option<bool>,
    /// With which key in its own region.
    pub kms_key: Option<String>,
    /// An image of the same name is deleted.
    pub force: bool,
    /// Also while machines of it are there.
    pub force_instances: bool,
    /// Its snapshots as well.
    pub force_snapshots: bool,
    /// Only the system's disk becomes part of it.
    pub only_system: bool,
    /// No image is made: the machine is only changed, and deleted.
    pub skip: bool,
}

/// A copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Where.
    pub region: String,
    /// Its name there.
    pub name: String,
    /// With which key it is encrypted there.
    pub kms_key: Option<String>,
}

pub(super) fn image(f: &Fields<'_>) -> Result<ImageConfig> {
    let skip = flag(f, "skip_create_image")?;
    let name = match text(f, "image_name")? {
        Some(name) => name,
        None if skip => String::new(),
        None => return Err(f.missing("image_name").hint("2 to 128 characters, that no other image has").into()),
    };
    if !skip {
        check_name(f, "image_name", &name)?;
    }
    let copies = copies(f, &name)?;
    let mut tags = tags(f, "tags")?;
    for tag in f.objects("tag")?.unwrap_or_default() {
        let inner = tag.fields();
        tags.push((inner.required("key")?, inner.string("value")?.unwrap_or_default()));
        inner.finish()?;
    }
    check_tags(f, "tag", &tags)?;
    Ok(ImageConfig {
        name,
        version: text(f, "image_version")?,
        description: text(f, "image_description")?,
        family: text(f, "target_image_family")?,
        boot_mode: one_of(f, "boot_mode", &["BIOS", "UEFI", "UEFI-Preferred"])?,
        resource_group: text(f, "resource_group_id")?,
        tags,
        share: accounts(f, "image_share_account")?,
        unshare: accounts(f, "image_unshare_account")?,
        copies,
        encrypted: f.bool("image_encrypted")?,
        kms_key: text(f, "kms_key_id")?,
        force: flag(f, "image_force_delete")?,
        force_instances: flag(f, "image_force_delete_instances")?,
        force_snapshots: flag(f, "image_force_delete_snapshots")?,
        only_system: flag(f, "image_ignore_data_disks")?,
        skip,
    })
}

fn check_name(f: &Fields<'_>, key: &str, name: &str) -> Result<()> {
    let length = name.chars().count();
    let message = if !(2..=128).contains(&length) {
        format!("an image's name has 2 to 128 characters, and `{name}` has {length}")
    } else if name.starts_with("http://") || name.starts_with("https://") {
        "an image's name must not begin with http:// or https://".to_owned()
    } else if name.contains(char::is_whitespace) {
        format!("an image's name has no spaces: `{name}`")
    } else if !name.starts_with(char::is_alphabetic) {
        format!("an image's name begins with a letter: `{name}`")
    } else {
        return Ok(());
    };
    Err(f.fault(key, "BadName", message).into())
}

fn copies(f: &Fields<'_>, name: &str) -> Result<Vec<Copy>> {
    let regions = f.strings("image_copy_regions")?.unwrap_or_default();
    let names = f.strings("image_copy_names")?.unwrap_or_default();
    // Packer takes them as a list or as an object of keys by region.
    let keys = f.strings("kms_key_ids")?.unwrap_or_default();
    for (key, list) in [("image_copy_names", &names), ("kms_key_ids", &keys)] {
        if list.len() > regions.len() {
            let message =
                format!("{key} has {} entries for {} regions of image_copy_regions", list.len(), regions.len());
            return Err(f.fault(key, "BadList", message).into());
        }
    }
    if regions.len() > MOST {
        return Err(f.fault("image_copy_regions", "BadList", "there are not so many regions").into());
    }
    let entry = |list: &[String], n: usize| list.get(n).filter(|text| !text.is_empty()).cloned();
    let mut copies = Vec::new();
    for (n, region) in regions.iter().enumerate() {
        let given = entry(&names, n);
        if let Some(given) = &given {
            check_name(f, "image_copy_names", given)?;
        }
        if copies.iter().any(|copy: &Copy| copy.region == *region) {
            return Err(f.fault("image_copy_regions", "BadList", format!("`{region}` is there twice")).into());
        }
        let name = given.unwrap_or_else(|| name.to_owned());
        copies.push(Copy { region: region.clone(), name, kms_key: entry(&keys, n) });
    }
    Ok(copies)
}

/// Accounts are numbers, which JSON writes without quotes.
fn accounts(f: &Fields<'_>, key: &str) -> Result<Vec<String>> {
    let all = f.strings(key)?.unwrap_or_default();
    match all.iter().find(|account| account.is_empty() || !account.bytes().all(|c| c.is_ascii_digit())) {
        Some(bad) => Err(f.fault(key, "BadAccount", format!("`{bad}` is no account: they are numbers")).into()),
        None if all.len() > MOST => {
            Err(f.fault(key, "BadAccount", "an image is shared with 100 accounts at the most").into())
        }
        None => Ok(all),
    }
}

/// Tags; by the keys of Kiln's own what builds left is found.
pub(super) fn tags(f: &Fields<'_>, key: &str) -> Result<Vec<(String, String)>> {
    let all = f.map(key)?.unwrap_or_default();
    check_tags(f, key, &all)?;
    Ok(all)
}

fn check_tags(f: &Fields<'_>, key: &str, all: &[(String, String)]) -> Result<()> {
    match all.iter().find_map(|(name, _)| check_tag(name).err()) {
        Some(why) => Err(f.fault(key, "BadTag", why).into()),
        None => Ok(()),
    }
}
