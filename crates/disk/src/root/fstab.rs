//! `/etc/fstab`: which file systems a system mounts where (fstab(5)).

use crate::part::Guid;

/// Longer tables are not read.
pub(super) const MAX: u64 = 1 << 20;

/// One line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted, as it is written: `UUID=…`, `LABEL=…`, `PARTUUID=…`, `/dev/vda1`.
    pub what: String,
    /// Where.
    pub target: String,
    /// The kind of file system.
    pub kind: String,
    /// The options, separated by commas.
    pub options: String,
}

/// What names a partition or its file system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// The file system's identifier.
    pub uuid: Option<Guid>,
    /// The file system's name.
    pub label: Vec<u8>,
    /// The partition's identifier.
    pub partuuid: Option<Guid>,
    /// The partition's name.
    pub partlabel: String,
    /// The partition's number.
    pub number: u32,
}

/// The lines of a table.
pub fn parse(text: &[u8]) -> Vec<Mount> {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let mounts = lines.filter_map(|line| {
        let mut words = line.split_ascii_whitespace().map(unescape);
        let (what, target, kind) = (words.next()?, words.next()?, words.next()?);
        let options = words.next().unwrap_or_else(|| "defaults".to_owned());
        Some(Mount { what, target, kind, options })
    });
    mounts.collect()
}

/// Blanks are written in octal.
fn unescape(word: &str) -> String {
    word.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

impl Mount {
    /// Whether it says that it mounts what has these names; `None` when it names a device, of which only a running
    /// machine knows which it is, and the number does not speak against it.
    pub fn names(&self, names: &Names) -> Option<bool> {
        let (tag, value) = match self.what.split_once('=') {
            Some((tag, value)) => (tag.to_ascii_uppercase(), value.trim_matches('"')),
            None => return device(&self.what, names),
        };
        let is = |guid: Option<Guid>| guid.is_some_and(|guid| guid.to_string().eq_ignore_ascii_case(value));
        Some(match &*tag {
            "UUID" => is(names.uuid),
            "LABEL" => !value.is_empty() && names.label == value.as_bytes(),
            "PARTUUID" => is(names.partuuid),
            "PARTLABEL" => !value.is_empty() && names.partlabel == value,
            _ => false,
        })
    }
}

fn device(what: &str, names: &Names) -> Option<bool> {
    for (dir, tag) in [("uuid", "UUID"), ("label", "LABEL"), ("partuuid", "PARTUUID"), ("partlabel", "PARTLABEL")] {
        if let Some(value) = what.strip_prefix(&format!("/dev/disk/by-{dir}/")) {
            let (what, [target, kind, options]) = (format!("{tag}={value}"), [(); 3].map(|()| String::new()));
            return Mount { what, target, kind, options }.names(names);
        }
    }
    let Some(device) = what.strip_prefix("/dev/") else { return Some(false) };
    let digits = device.len() - device.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let known = ["sd", "vd", "xvd", "hd", "nvme", "mmcblk"].iter().any(|prefix| device.starts_with(prefix));
    match device[device.len() - digits..].parse::<u32>() {
        Ok(number) if known && number == names.number => None,
        _ => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_what_they_mount() {
        let text = b"# a comment\n\nUUID=0FC63DAF-8483-4772-8e79-3d69d8477de4 / ext4 rw,discard 0 1\n\
            LABEL=boot\t/boot ext4\n/dev/vda2 /var ext4 defaults 0 2\nLABEL=\"a\\040b\" /x ext4\nshort\n";
        let mounts = parse(text);
        assert_eq!(mounts.iter().map(|m| &*m.target).collect::<Vec<_>>(), ["/", "/boot", "/var", "/x"]);
        let uuid = "0fc63daf-8483-4772-8e79-3d69d8477de4".parse().ok();
        let names = Names { uuid, label: b"a b".to_vec(), number: 2, ..Names::default() };
        let said: Vec<_> = mounts.iter().map(|m| m.names(&names)).collect();
        assert_eq!(said, [Some(true), Some(false), None, Some(true)]);
        let by = parse(b"/dev/disk/by-uuid/0fc63daf-8483-4772-8e79-3d69d8477de4 / ext4\n/dev/mapper/vg-root2 / ext4\n");
        assert_eq!(by.iter().map(|m| m.names(&names)).collect::<Vec<_>>(), [Some(true), Some(false)]);
    }
}
