//! For which platforms an image is wanted.
//!
//! ```text
//! a line of a list says `--platform=…`      these, whoever else names the image
//! a place says nothing                      those of the cluster image
//! a node selector says one                  that one, if the cluster image is for it
//! ```
//!
//! An image that only node selectors of other platforms name runs on no node of this cluster: it is not contained, and
//! a warning says so.

use kiln_manifests::rule;
use kiln_oci::Platform;

use crate::report::{self, Named};
use crate::scan::Scan;

/// The platforms that those who name an image want it for; none, where it runs on no node of a cluster of `own`.
pub(crate) fn wanted(named: &[Named], own: &[Platform]) -> Vec<Platform> {
    let listed = named.iter().filter(|named| named.rule == rule::FILE.id);
    let mut all: Vec<Platform> = listed.flat_map(|named| named.platforms.iter().cloned()).collect();
    if all.is_empty() {
        let is_selected = |platform: &Platform| {
            named.iter().any(|named| named.platforms.is_empty() || named.platforms.iter().any(|p| selects(p, platform)))
        };
        return own.iter().filter(|platform| is_selected(platform)).cloned().collect();
    }
    all.sort();
    all.dedup();
    all
}

/// Node selectors know no variants.
fn selects(selector: &Platform, platform: &Platform) -> bool {
    let (a, b) = (selector.normalise(), platform.normalise());
    a.os == b.os && a.architecture == b.architecture
}

/// Notes for which platforms images are wanted, and leaves out those that no node of a cluster of `own` can run.
pub(crate) fn decide(scan: &mut Scan, own: &[Platform]) {
    let mut kept = Vec::new();
    for mut image in std::mem::take(&mut scan.images) {
        let platforms = wanted(&image.named, own);
        if platforms.is_empty() {
            let says = image.named.first().map(Named::text).unwrap_or_default();
            scan.warnings.push(format!(
                "{}: it is not contained, for no platform of this image runs it: {says}; a line `--platform=OS/ARCH {}` of \
                 an image list contains it",
                image.name.familiar(),
                image.name.familiar()
            ));
            scan.possible.push(report::Image { name: image.name.to_string(), named: image.named });
            continue;
        }
        image.platforms = if platforms == own { Vec::new() } else { platforms };
        kept.push(image);
    }
    scan.images = kept;
    scan.possible.sort_by(|a, b| a.name.cmp(&b.name));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contain::Wanted;
    use crate::report::Certainty;

    fn named(rule: &str, platforms: &[&str]) -> Named {
        let platforms = platforms.iter().map(|text| text.parse().unwrap()).collect();
        let (file, certainty) = ("f".to_owned(), Certainty::Certain);
        Named { file, line: None, object: None, rule: rule.to_owned(), certainty, platforms }
    }

    fn shown(all: &[Named], own: &[&str]) -> Vec<String> {
        let own: Vec<Platform> = own.iter().map(|text| text.parse().unwrap()).collect();
        wanted(all, &own).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn places_say_for_which_platforms() {
        let both = ["linux/amd64", "linux/arm64"];
        let (list, pod) = (rule::FILE.id, rule::CONTAINER.id);
        let nobody: [&str; 0] = [];
        assert_eq!(shown(&[named(pod, &[])], &both), both);
        assert_eq!(shown(&[named(pod, &["linux/arm64"])], &both), ["linux/arm64"]);
        assert_eq!(shown(&[named(pod, &["linux/arm64"]), named(pod, &["linux/amd64"])], &both), both);
        assert_eq!(shown(&[named(pod, &["linux/arm64"]), named(list, &[])], &both), both);
        assert_eq!(shown(&[named(pod, &["linux/arm"])], &["linux/arm/v6"]), ["linux/arm/v6"]);
        assert_eq!(shown(&[named(pod, &["windows/amd64"])], &both), nobody);
        // A list is the user's word.
        assert_eq!(shown(&[named(pod, &[]), named(list, &["linux/amd64"])], &both), ["linux/amd64"]);
        assert_eq!(shown(&[named(list, &["linux/s390x"]), named(list, &[])], &both), ["linux/s390x"]);
    }

    #[test]
    fn what_no_node_runs_is_left_out_with_a_warning() {
        let image = |name: &str, place: Named| {
            let mut image = Wanted::new(name.parse().unwrap());
            image.named.push(place);
            image
        };
        let mut scan = Scan {
            images: vec![
                image("flannel:amd64", named(rule::CONTAINER.id, &["linux/amd64"])),
                image("flannel:arm64", named(rule::CONTAINER.id, &["linux/arm64"])),
                image("flannel:s390x", named(rule::FILE.id, &["linux/s390x"])),
            ],
            ..Scan::default()
        };
        decide(&mut scan, &["linux/amd64".parse().unwrap()]);
        let kept: Vec<_> = scan.images.iter().map(|i| (i.name.familiar(), i.platforms.len())).collect();
        assert_eq!(kept, [("flannel:amd64".to_owned(), 0), ("flannel:s390x".to_owned(), 1)]);
        assert_eq!(scan.possible[0].name, "docker.io/library/flannel:arm64");
        assert!(scan.warnings[0].contains("f for linux/arm64 (images.container)"), "{:?}", scan.warnings);
    }
}
