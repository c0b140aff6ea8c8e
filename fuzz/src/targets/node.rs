//! What checks of nodes read: the first byte chooses between a profile, a database of containerd's and a kernel.

use kiln_checks::profile::own;
use kiln_checks::read::{bolt, vmlinuz};
use kiln_spec::source::Source;

/// Reads it.
pub fn run(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    match first % 3 {
        0 => {
            let source = Source { name: "p.yaml".to_owned(), text: super::text(rest) };
            match own::parse(source) {
                Ok(profile) => assert!(profile.rules.len() <= rest.len(), "a rule has a text"),
                Err(e) => assert!(!e.render(false).is_empty()),
            }
        }
        1 => {
            let Ok(database) = bolt::Database::open(rest) else { return };
            let Ok(Some(bucket)) = database.bucket(&[b"v1"]) else { return };
            for name in database.buckets(bucket).unwrap_or_default().iter().take(100) {
                let _ = database.child(bucket, name);
                let _ = database.value(bucket, name);
            }
        }
        _ => {
            let Ok(elf) = vmlinuz::unpack(rest) else { return };
            let _ = vmlinuz::has_section(&elf, ".BTF");
            assert!(vmlinuz::missing_strings(&elf, &["page_fault_user"]).len() <= 1);
        }
    }
}
