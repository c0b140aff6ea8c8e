//! A Cluster as sealos has it: several images, the first with Kubernetes; hosts as `ip:port`.

use kiln_spec::diag::Diagnostic;

use super::cursor::{At, Cursor, Fields};
use super::host;
use crate::model::{Cluster, Ssh};

const SPEC: Fields =
    Fields { names: &["image", "hosts", "ssh", "env", "command"], old: &[("cmd", "command")], refused: &[] };

/// Images of one cluster.
const MAX_IMAGES: usize = 200;

/// Reads `spec` into a cluster.
pub fn spec(cursor: &mut Cursor, root: &At<'_>, cluster: &mut Cluster) -> Ssh {
    let Some(at) = cursor.inner(root, "spec", &SPEC) else { return Ssh::default() };
    let words = match at.get("image").filter(|node| node.text().is_some()) {
        Some(node) => cursor.word(node, "spec.image").into_iter().collect(),
        None => cursor.words(&at, "image"),
    };
    if words.len() > MAX_IMAGES {
        cursor.push(Diagnostic::error("TooLarge", at.span, format!("more than {MAX_IMAGES} images")));
        return Ssh::default();
    }
    let mut images = words.into_iter().filter_map(|word| cursor.image(word)).collect::<Vec<_>>().into_iter();
    cluster.image = images.next();
    cluster.more_images = images.collect();
    cluster.env = host::env(cursor, &at);
    cluster.command = cursor.words(&at, "command");
    cluster.hosts = host::hosts(cursor, &at);
    cursor.inner(&at, "ssh", &host::SSH).map(|at| host::ssh(cursor, &at)).unwrap_or_default()
}
