//! Extended attributes: in the inode, or in a block of their own, where long values are behind it.

use kiln_oci::entry::Xattrs;

use super::inode::Attrs;
use super::raw::{be16, be32, hash, magic, put16, put32};
use crate::ext4::raw::{get16, get32};
use crate::files::BLOCK;

const MAX_NAME: usize = 255;
const MAX_VALUE: usize = 64 << 10;
/// Namespaces: of the system, and of its security.
pub(crate) const ROOT: u8 = 2;
pub(crate) const SECURE: u8 = 4;
/// The value is where the name is.
pub(crate) const LOCAL: u8 = 1;
/// Where the entries of a block start.
const ENTRIES: usize = 80;
/// Attributes that take more are not beside others.
const LONGEST: usize = BLOCK / 4 * 3;
/// Bytes in front of the part of a value, or of a link's target, that a block has.
pub(crate) const VALUE_HEAD: usize = 56;
/// Bytes of a value that a block behind has.
pub(crate) const VALUE: usize = BLOCK - VALUE_HEAD;

/// Access control lists have names of their own.
pub(crate) const LISTS: [(&[u8], &[u8]); 2] =
    [(b"system.posix_acl_access", b"SGI_ACL_FILE"), (b"system.posix_acl_default", b"SGI_ACL_DEFAULT")];
const SPACES: [(&[u8], u8); 3] = [(b"user.", 0), (b"trusted.", ROOT), (b"security.", SECURE)];

/// One attribute as it is stored.
#[derive(Debug)]
struct Attr {
    space: u8,
    name: Vec<u8>,
    value: Vec<u8>,
}

/// Attributes as they are stored.
#[derive(Debug)]
pub(crate) enum Placed {
    None,
    /// In the inode.
    Near(Attrs),
    /// A block without what it says of itself, and the values behind it.
    Far(Vec<u8>, Vec<Vec<u8>>),
}

impl Attr {
    fn new(name: &[u8], value: &[u8]) -> Result<Attr, String> {
        let shown = || kiln_oci::name::escape(name);
        if let Some((_, stored)) = LISTS.iter().find(|(list, _)| *list == name) {
            let value = list(value).ok_or_else(|| format!("its attribute `{}` is not an ACL", shown()))?;
            return Ok(Attr { space: ROOT, name: stored.to_vec(), value });
        }
        let Some((prefix, space)) = SPACES.iter().find(|(prefix, _)| name.starts_with(prefix)) else {
            return Err(format!("the namespace of its attribute `{}` is none that xfs has", shown()));
        };
        let name = &name[prefix.len()..];
        if name.len() > MAX_NAME || name.is_empty() || name.contains(&0) {
            return Err(format!("its attribute `{}` has no name that xfs can store", shown()));
        }
        if value.len() > MAX_VALUE {
            let (shown, len) = (shown(), value.len());
            return Err(format!("its attribute `{shown}` has {len} bytes, {MAX_VALUE} are the most"));
        }
        Ok(Attr { space: *space, name: name.to_vec(), value: value.to_vec() })
    }

    fn local(&self) -> usize {
        (3 + self.name.len() + self.value.len()).next_multiple_of(4)
    }

    fn remote(&self) -> usize {
        (11 + self.name.len()).next_multiple_of(4)
    }
}

/// An access control list as it is stored; `None` when it is none.
fn list(value: &[u8]) -> Option<Vec<u8>> {
    let (entries, []) = value.get(4..)?.as_chunks::<8>() else { return None };
    if get32(value, 0) != 2 {
        return None;
    }
    let mut out = vec![0; 4 + entries.len() * 12];
    put32(&mut out, 0, entries.len() as u32);
    for (entry, place) in entries.iter().zip(out[4..].chunks_exact_mut(12)) {
        let tag = get16(entry, 0);
        put32(place, 0, u32::from(tag));
        // Only entries of a user or a group name one.
        put32(place, 4, if matches!(tag, 2 | 8) { get32(entry, 4) } else { 0 });
        put16(place, 8, get16(entry, 2));
    }
    Some(out)
}

/// A stored access control list as system calls have it; `None` when it is none.
pub(crate) fn from_disk(stored: &[u8]) -> Option<Vec<u8>> {
    let (entries, []) = stored.get(4..)?.as_chunks::<12>() else { return None };
    if be32(stored, 0) as usize != entries.len() {
        return None;
    }
    let mut out = 2u32.to_le_bytes().to_vec();
    for entry in entries {
        let tag = u16::try_from(be32(entry, 0)).ok()?;
        let id = if matches!(tag, 2 | 8) { be32(entry, 4) } else { u32::MAX };
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&be16(entry, 8).to_le_bytes());
        out.extend_from_slice(&id.to_le_bytes());
    }
    Some(out)
}

/// Decides where attributes go; the error says why they cannot be stored.
pub(crate) fn place(xattrs: &Xattrs) -> Result<Placed, String> {
    let mut attrs = xattrs.iter().map(|(name, value)| Attr::new(name, value)).collect::<Result<Vec<_>, _>>()?;
    if attrs.is_empty() {
        return Ok(Placed::None);
    }
    let near = 4 + attrs.iter().map(|attr| 3 + attr.name.len() + attr.value.len()).sum::<usize>();
    if near <= Attrs::MOST && attrs.iter().all(|attr| attr.value.len() <= 255) {
        let mut bytes = vec![0; 4];
        put16(&mut bytes, 0, near as u16);
        bytes[2] = attrs.len() as u8;
        for attr in &attrs {
            bytes.extend([attr.name.len() as u8, attr.value.len() as u8, attr.space]);
            bytes.extend([&attr.name[..], &attr.value].concat());
        }
        return Ok(Placed::Near(Attrs { bytes, extents: 0 }));
    }
    // The longest values go behind the block until all others have room in it.
    attrs.sort_by(|a, b| (a.value.len(), &a.name, a.space).cmp(&(b.value.len(), &b.name, b.space)));
    let mut far = Vec::new();
    let need = |near: &[Attr], far: &[Attr]| {
        let bytes: usize = near.iter().map(Attr::local).chain(far.iter().map(Attr::remote)).sum();
        ENTRIES + 8 * (near.len() + far.len()) + bytes
    };
    while need(&attrs, &far) > BLOCK || attrs.last().is_some_and(|attr| attr.local() > LONGEST) {
        let Some(attr) = attrs.pop() else {
            return Err(format!("its {} extended attributes do not fit into one block", far.len()));
        };
        far.push(attr);
    }
    Ok(block(attrs, far))
}

fn block(near: Vec<Attr>, far: Vec<Attr>) -> Placed {
    let mut values = Vec::new();
    let mut all: Vec<(u32, Attr, Option<usize>)> =
        near.into_iter().map(|attr| (hash(&attr.name), attr, None)).collect();
    for mut attr in far {
        let value = std::mem::take(&mut attr.value);
        // Value blocks are numbered from behind this block.
        let first = 1 + values.iter().map(|v: &Vec<u8>| v.len().div_ceil(VALUE)).sum::<usize>();
        all.push((hash(&attr.name), attr, Some(first)));
        values.push(value);
    }
    let lens: Vec<usize> = values.iter().map(Vec::len).collect();
    let firsts: Vec<usize> = all.iter().filter_map(|(_, _, first)| *first).collect();
    all.sort_by(|a, b| (a.0, a.1.space, &a.1.name).cmp(&(b.0, b.1.space, &b.1.name)));
    let mut b = vec![0; BLOCK];
    let mut end = BLOCK;
    for (n, (hash, attr, first)) in all.iter().enumerate() {
        let from = end - if first.is_some() { attr.remote() } else { attr.local() };
        let name = match first {
            Some(first) => {
                let len = firsts.iter().position(|f| f == first).map_or(0, |at| lens[at]);
                put32(&mut b, from, *first as u32);
                put32(&mut b, from + 4, len as u32);
                b[from + 8] = attr.name.len() as u8;
                from + 9
            }
            None => {
                put16(&mut b, from, attr.value.len() as u16);
                b[from + 2] = attr.name.len() as u8;
                from + 3
            }
        };
        b[name..name + attr.name.len()].copy_from_slice(&attr.name);
        b[name + attr.name.len()..][..attr.value.len()].copy_from_slice(&attr.value);
        let entry = ENTRIES + n * 8;
        put32(&mut b, entry, *hash);
        put16(&mut b, entry + 4, from as u16);
        b[entry + 6] = attr.space | if first.is_some() { 0 } else { LOCAL };
        end = from;
    }
    let base = ENTRIES + all.len() * 8;
    put16(&mut b, 8, magic::ATTR_LEAF);
    for (at, value) in [(56, all.len()), (58, BLOCK - end), (60, end), (64, base), (66, end - base)] {
        put16(&mut b, at, value as u16);
    }
    Placed::Far(b, values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attrs(list: &[(&str, usize)]) -> Xattrs {
        list.iter().map(|(name, len)| (name.as_bytes().to_vec(), vec![7; *len])).collect()
    }

    #[test]
    fn small_ones_stay_with_the_inode() {
        let far = |list: &[(&str, usize)]| match place(&attrs(list)).unwrap() {
            Placed::None => None,
            Placed::Near(attrs) => Some((attrs.bytes.len(), 0)),
            Placed::Far(_, values) => Some((0, values.iter().map(Vec::len).sum())),
        };
        assert_eq!(far(&[]), None);
        assert_eq!(far(&[("security.capability", 20)]), Some((4 + 3 + 10 + 20, 0)));
        assert_eq!(far(&[("user.a", 300)]), Some((0, 0)));
        assert_eq!(far(&[("user.a", 3000), ("user.b", 2000)]), Some((0, 3000)));
        assert_eq!(far(&[("user.a", 65_536), ("user.b", 20)]), Some((0, 65_536)));
    }

    #[test]
    fn lists_come_back_as_they_were() {
        let mut call = vec![2, 0, 0, 0];
        for (tag, perm, id) in [(1u16, 6u16, u32::MAX), (2, 4, 1000), (4, 4, u32::MAX), (16, 4, u32::MAX)] {
            call.extend([tag.to_le_bytes(), perm.to_le_bytes()].concat());
            call.extend(id.to_le_bytes());
        }
        let stored = list(&call).unwrap();
        assert_eq!(from_disk(&stored).unwrap(), call);
        for bad in [&stored[..3], &stored[..20], &[0, 0, 0, 2], &[0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(from_disk(bad), None);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(place(&attrs(&[("user.a", 65_537)])).unwrap_err().contains("65536 are the most"));
        assert!(place(&attrs(&[("user.", 1)])).is_err());
        assert!(place(&attrs(&[("strange.name", 1)])).unwrap_err().contains("namespace"));
        assert!(place(&attrs(&[("system.posix_acl_access", 3)])).unwrap_err().contains("ACL"));
        let long: Vec<String> = (0..30).map(|n| format!("user.{}{n}", "n".repeat(200))).collect();
        let long: Vec<(&str, usize)> = long.iter().map(|name| (&**name, 9)).collect();
        assert!(place(&attrs(&long)).unwrap_err().contains("30 extended attributes"));
    }
}
