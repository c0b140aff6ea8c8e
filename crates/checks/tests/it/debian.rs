//! A real Debian, made by mmdebstrap, looked at in its tar.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use kiln_checks::system::{ImageTree, Memory};
use kiln_checks::{Look, Profile, Verdict, verify};
use kiln_oci::{Digest, IndexedEntry, LayerIndex, LayerReader, Tree};
use kiln_testkit::tools::debian_base;

fn index(tar: &std::path::Path) -> LayerIndex {
    let mut reader = LayerReader::new(File::open(tar).unwrap());
    let mut index = LayerIndex::default();
    while let Some(found) = reader.next_entry().unwrap() {
        index.entries.push(IndexedEntry { entry: found.entry.clone(), offset: found.offset });
    }
    index.tar_size = reader.position();
    index
}

#[test]
fn a_minimal_debian_is_clean_and_is_no_node() {
    let path = debian_base();
    let mut tree = Tree::new();
    tree.apply(&index(&path), &Digest::of(b"debian")).unwrap();
    let system = ImageTree::new("debian", &tree, |file| {
        let mut tar = File::open(&path)?;
        tar.seek(SeekFrom::Start(file.offset))?;
        Ok(Box::new(tar.take(file.size)))
    });
    let look = Look::new(&system);
    let packages = look.packages().unwrap();
    assert!(packages.named("libc6").count() == 1 && packages.all.len() > 80, "{}", packages.all.len());
    assert!(look.command("bash").unwrap().is_some() && look.command("wget").unwrap().is_none());
    let clean = verify(&system, &[Profile::built_in("cis-basics").unwrap()], &[]);
    let of = |report: &kiln_checks::Report, id: &str| {
        report.outcomes.iter().find(|o| o.rule.id == id).unwrap().finding.clone()
    };
    for id in ["os.ssh.hostkeys-absent", "secrets.scan", "os.history", "os.repo.gpg", "os.files.passwd"] {
        assert_eq!(of(&clean, id).verdict, Verdict::Pass, "{id}: {:?}", of(&clean, id));
    }
    let node = verify(&system, &[Profile::built_in("ack").unwrap()], &[]);
    assert_eq!(of(&node, "os.kernel.min").reason, "no kernel is installed");
    assert_eq!(of(&node, "os.tools.required.curl").verdict, Verdict::Fail);
    assert_eq!(of(&node, "os.sysctl.protected").verdict, Verdict::Pass);
    assert_eq!(node.code(), 1);
}

/// The release of the newest kernel of Debian that this machine has in /boot.
fn release() -> String {
    let names = std::fs::read_dir("/boot").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let images = names.filter_map(|name| name.strip_prefix("vmlinuz-").map(str::to_owned));
    images.max().expect("no kernel in /boot: apt-get install linux-image-cloud-amd64")
}

#[test]
fn a_kernel_of_debian_is_taken_out_of_its_image_and_has_what_probes_need() {
    let release = release();
    let from = |name: &str| std::fs::read(format!("/boot/{name}-{release}")).unwrap();
    let system = Memory::new()
        .file(&format!("/boot/vmlinuz-{release}"), from("vmlinuz"))
        .file(&format!("/boot/config-{release}"), from("config"));
    let of = |profile: &str| verify(&system, &[Profile::built_in(profile).unwrap()], &[]);
    let finding = |report: &kiln_checks::Report, id: &str| {
        report.outcomes.iter().find(|o| o.rule.id == id).unwrap_or_else(|| panic!("{id}")).finding.clone()
    };
    let probes = of("sysdig");
    for id in ["os.kernel.btf", "os.kernel.tracepoints", "os.kernel.config.TRACEPOINTS", "os.kernel.min.modern"] {
        assert_eq!(finding(&probes, id).verdict, Verdict::Pass, "{id}: {:?}", finding(&probes, id));
    }
    assert_eq!(finding(&probes, "os.kernel.headers").verdict, Verdict::Fail);
    let preflight = of("kubeadm");
    for id in ["os.kernel.regex", "os.kernel.config.MEMCG", "os.kernel.config.NETFILTER_XT_TARGET_REDIRECT"] {
        assert_eq!(finding(&preflight, id).verdict, Verdict::Pass, "{id}: {:?}", finding(&preflight, id));
    }
}
