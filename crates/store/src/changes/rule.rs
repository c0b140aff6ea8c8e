//! When a path counts as changed. Pure: what is there now against what the lower layers have.

use kiln_oci::entry::{EntryKind, Meta};

use crate::capability;

/// What a comparison without reading any file gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing a layer could say differs.
    Same,
    /// It is new, or something differs.
    Changed,
    /// A file whose metadata is the same: its bytes decide.
    CompareBytes,
}

/// Compares what is at a path now with what is there in the lower layers.
pub fn judge(lower: Option<&(EntryKind, Meta)>, kind: &EntryKind, meta: &Meta) -> Verdict {
    let Some((was, before)) = lower else { return Verdict::Changed };
    if was != kind || before.uid != meta.uid || before.gid != meta.gid {
        return Verdict::Changed;
    }
    // A symbolic link's mode is 0777 on every disk, whatever a layer says.
    let has_mode = !matches!(kind, EntryKind::Symlink { .. });
    if has_mode && before.mode & 0o7777 != meta.mode & 0o7777 {
        return Verdict::Changed;
    }
    // A directory's time changes with every name in it, and says nothing about the directory itself.
    if *kind != EntryKind::Dir && before.mtime.secs != meta.mtime.secs {
        return Verdict::Changed;
    }
    match kind {
        EntryKind::File { .. } if capability_of(before) != capability_of(meta) => Verdict::Changed,
        EntryKind::File { size: 0 } => Verdict::Same,
        EntryKind::File { .. } => Verdict::CompareBytes,
        _ => Verdict::Same,
    }
}

fn capability_of(meta: &Meta) -> Option<Vec<u8>> {
    meta.xattrs.get(capability::NAME).cloned().map(capability::plain)
}

#[cfg(test)]
mod tests {
    use kiln_oci::Mtime;

    use super::*;

    fn file(size: u64) -> (EntryKind, Meta) {
        (EntryKind::File { size }, Meta { mtime: Mtime { secs: 5, nanos: 7 }, ..Meta::mode(0o644) })
    }

    fn verdict(lower: &(EntryKind, Meta), change: impl FnOnce(&mut EntryKind, &mut Meta)) -> Verdict {
        let (mut kind, mut meta) = lower.clone();
        change(&mut kind, &mut meta);
        judge(Some(lower), &kind, &meta)
    }

    #[test]
    fn each_field_counts() {
        let lower = file(3);
        assert_eq!(judge(None, &lower.0, &lower.1), Verdict::Changed);
        assert_eq!(verdict(&lower, |_, _| ()), Verdict::CompareBytes);
        assert_eq!(verdict(&lower, |_, meta| meta.mtime.nanos = 0), Verdict::CompareBytes);
        assert_eq!(verdict(&lower, |_, meta| meta.mtime.secs = 6), Verdict::Changed);
        assert_eq!(verdict(&lower, |_, meta| meta.mode = 0o4644), Verdict::Changed);
        assert_eq!(verdict(&lower, |_, meta| meta.uid = 1), Verdict::Changed);
        assert_eq!(verdict(&lower, |_, meta| meta.gid = 1), Verdict::Changed);
        assert_eq!(verdict(&lower, |kind, _| *kind = EntryKind::File { size: 4 }), Verdict::Changed);
        assert_eq!(verdict(&lower, |kind, _| *kind = EntryKind::Dir), Verdict::Changed);
        let cap = |meta: &mut Meta| drop(meta.xattrs.insert(capability::NAME.to_vec(), vec![1]));
        assert_eq!(verdict(&lower, |_, meta| cap(meta)), Verdict::Changed);
        assert_eq!(verdict(&file(0), |_, _| ()), Verdict::Same);
    }

    #[test]
    fn directories_and_links_have_their_own_rules() {
        let dir = (EntryKind::Dir, Meta::mode(0o755));
        assert_eq!(verdict(&dir, |_, meta| meta.mtime.secs = 9), Verdict::Same);
        assert_eq!(verdict(&dir, |_, meta| meta.mode = 0o700), Verdict::Changed);
        let link = (EntryKind::Symlink { target: b"a".to_vec() }, Meta::mode(0o755));
        assert_eq!(verdict(&link, |_, meta| meta.mode = 0o777), Verdict::Same);
        assert_eq!(verdict(&link, |_, meta| meta.mtime.secs = 9), Verdict::Changed);
        assert_eq!(verdict(&link, |kind, _| *kind = EntryKind::Symlink { target: b"b".to_vec() }), Verdict::Changed);
        let device = (EntryKind::Char { major: 1, minor: 3 }, Meta::mode(0o666));
        assert_eq!(verdict(&device, |kind, _| *kind = EntryKind::Char { major: 1, minor: 5 }), Verdict::Changed);
    }
}
