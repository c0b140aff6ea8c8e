//! Layers in, packages out.

use kiln_testkit::rootfs::Rootfs;

use super::*;

const STATUS: &str = "Package: bash\nStatus: install ok installed\nVersion: 5.2\nArchitecture: amd64\n";

fn scan_with(limits: Limits, layers: &[Rootfs]) -> Inventory {
    let mut scanner = Scanner::new(limits);
    for (number, layer) in layers.iter().enumerate() {
        scanner.layer(&diff_id(number), &layer.tar()[..]).unwrap();
    }
    scanner.finish()
}

fn scan(layers: &[Rootfs]) -> Inventory {
    scan_with(Limits::default(), layers)
}

fn diff_id(layer: usize) -> Digest {
    Digest::of(&[layer as u8])
}

/// `name version @layer path…` for each package, then `? path why` for each doubt.
fn text(inventory: &Inventory) -> Vec<String> {
    let layer = |digest: &Digest| (0..9).find(|n| diff_id(*n) == *digest).unwrap();
    let packages = inventory.packages.iter().map(|p| {
        let places: Vec<_> = p.locations.iter().map(|l| format!("@{} {}", layer(&l.layer), l.path)).collect();
        format!("{} {} {}", p.name, p.version, places.join(" "))
    });
    packages.chain(inventory.doubts.iter().map(|d| format!("? {} {}", d.path, d.why))).collect()
}

fn apk(name: &str) -> String {
    format!("P:{name}\nV:1\n\n")
}

#[test]
fn an_upper_layer_replaces_and_removes() {
    let base = Rootfs::new().file("var/lib/dpkg/status", 0o644, STATUS);
    let same = ["bash 5.2 @0 /var/lib/dpkg/status"];
    assert_eq!(text(&scan(std::slice::from_ref(&base))), same);
    assert_eq!(text(&scan(&[base.clone(), Rootfs::new().file("etc/x", 0o644, "")])), same);
    let newer = Rootfs::new().file("var/lib/dpkg/status", 0o644, STATUS.replace("5.2", "5.3"));
    assert_eq!(text(&scan(&[base.clone(), newer])), ["bash 5.3 @1 /var/lib/dpkg/status"]);
    for gone in ["var/lib/dpkg/status", "var/lib", "var"] {
        assert_eq!(text(&scan(&[base.clone(), Rootfs::new().whiteout(gone)])), Vec::<String>::new(), "{gone}");
    }
    let opaque = Rootfs::new().file("var/lib/.wh..wh..opq", 0o644, "");
    assert_eq!(text(&scan(&[base.clone(), opaque])), Vec::<String>::new());
    let back = [base.clone(), Rootfs::new().whiteout("var"), base];
    assert_eq!(text(&scan(&back)), ["bash 5.2 @2 /var/lib/dpkg/status"]);
}

#[test]
fn a_database_that_links_lead_to_is_read_once() {
    let merged = Rootfs::new().symlink("lib", "usr/lib").file("usr/lib/apk/db/installed", 0o644, apk("a"));
    assert_eq!(text(&scan(&[merged])), ["a 1 @0 /usr/lib/apk/db/installed"]);
    // The upper layer writes through the link of the lower one.
    let usr = Rootfs::new().dir("usr/lib", 0o755).symlink("lib", "usr/lib");
    let through = Rootfs::new().file("lib/apk/db/installed", 0o644, apk("b"));
    assert_eq!(text(&scan(&[usr.clone(), through])), ["b 1 @1 /usr/lib/apk/db/installed"]);
    // The link itself is replaced afterwards: what was written through it stays.
    let replaced = Rootfs::new().whiteout("lib");
    let through = Rootfs::new().file("lib/apk/db/installed", 0o644, apk("b"));
    assert_eq!(text(&scan(&[usr, through, replaced])), ["b 1 @1 /usr/lib/apk/db/installed"]);
}

#[test]
fn hard_links_carry_a_file_on() {
    let base = Rootfs::new().file("a/apk/db/installed", 0o644, apk("a"));
    let linked = Rootfs::new().hardlink("lib/apk/db/installed", "a/apk/db/installed");
    assert_eq!(
        text(&scan(&[base.clone(), linked.clone(), Rootfs::new().whiteout("a")])),
        ["a 1 @0 /lib/apk/db/installed"]
    );
    let strange = Rootfs::new().file("blob", 0o644, apk("a")).hardlink("lib/apk/db/installed", "blob");
    assert_eq!(
        text(&scan(&[strange])),
        ["? /lib/apk/db/installed it is a link to a file whose own name does not tell what it holds"]
    );
}

#[test]
fn a_database_elsewhere_is_a_doubt() {
    let nested = Rootfs::new().file("srv/root/var/lib/dpkg/status", 0o644, STATUS);
    assert_eq!(
        text(&scan(&[nested])),
        [
            "? /srv/root/var/lib/dpkg/status it is not where a system keeps its database, so its packages are not counted"
        ]
    );
}

#[test]
fn distroless_images_have_a_file_for_each_package() {
    let layer = Rootfs::new()
        .file("var/lib/dpkg/status.d/tzdata", 0o644, "Package: tzdata\nVersion: 2024a\nArchitecture: all\n")
        .file("var/lib/dpkg/status.d/tzdata.md5sums", 0o644, "0123 usr/share/zoneinfo/UTC\n")
        .file("var/lib/dpkg/status.d/base", 0o644, "Package: base-files\nVersion: 12.4\n");
    let want = ["base-files 12.4 @0 /var/lib/dpkg/status.d/base", "tzdata 2024a @0 /var/lib/dpkg/status.d/tzdata"];
    assert_eq!(text(&scan(&[layer])), want);
}

#[test]
fn licences_come_from_copyright_files_also_through_links() {
    let copyright =
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: GPL-2+\n";
    let layer = Rootfs::new()
        .file(
            "var/lib/dpkg/status",
            0o644,
            format!("{STATUS}\nPackage: other\nVersion: 1\n\nPackage: ../../x\nVersion: 1\n"),
        )
        .file("usr/share/doc/other/copyright", 0o644, copyright)
        .symlink("usr/share/doc/bash", "other")
        .file("etc/os-release", 0o644, "ID=debian\nVERSION_ID=12\n");
    let found = scan(&[layer]);
    let licences: Vec<_> = found.packages.iter().map(|p| p.licences.len()).collect();
    assert_eq!(licences, [0, 1, 1]);
    assert_eq!(found.distribution.unwrap().id, "debian");
    assert_eq!(found.doubts, []);
}

#[test]
fn what_is_over_a_limit_is_a_doubt() {
    let layer = Rootfs::new().file("lib/apk/db/installed", 0o644, [apk("a"), apk("b")].concat()).file(
        "var/lib/dpkg/status",
        0o644,
        STATUS,
    );
    let limits = Limits { database: 40, ..Limits::default() };
    assert_eq!(
        text(&scan_with(limits, std::slice::from_ref(&layer))),
        [
            "a 1 @0 /lib/apk/db/installed",
            "b 1 @0 /lib/apk/db/installed",
            "? /var/lib/dpkg/status it has 76 bytes, and the limit is 40"
        ]
    );
    let limits = Limits { total: 80, ..Limits::default() };
    assert_eq!(
        text(&scan_with(limits, std::slice::from_ref(&layer))).last().unwrap(),
        "? /var/lib/dpkg/status all such files together have more than 80 bytes, which is the limit"
    );
    let limits = Limits { said: 3, ..Limits::default() };
    let found = text(&scan_with(limits, std::slice::from_ref(&layer)));
    assert!(
        found.iter().any(|doubt| doubt.ends_with("all that is said has more than 3 bytes, the limit")),
        "{found:?}"
    );
    let limits = Limits { packages: 1, ..Limits::default() };
    let found = text(&scan_with(limits, &[layer]));
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(found[0], "a 1 @0 /lib/apk/db/installed");
    assert!(found[1..].iter().all(|doubt| doubt.ends_with("more than 1 packages, which is the limit")), "{found:?}");
}

#[test]
fn a_file_that_every_layer_changes_is_kept_once() {
    let mut scanner = Scanner::default();
    for number in 0..9 {
        let layer = Rootfs::new().file("lib/apk/db/installed", 0o644, apk("a"));
        scanner.layer(&diff_id(number), &layer.tar()[..]).unwrap();
        assert_eq!((scanner.files.len(), scanner.kept), (1, apk("a").len() as u64));
    }
}

#[test]
fn a_damaged_layer_is_an_error_that_names_it() {
    let tar = Rootfs::new().file("lib/apk/db/installed", 0o644, apk("a")).tar();
    let error = Scanner::default().layer(&diff_id(0), &tar[..514]).unwrap_err().to_string();
    assert!(error.contains(&diff_id(0).to_string()) && error.contains("cut short"), "{error}");
    let looped = Rootfs::new().symlink("lib", "lib").file("lib/x", 0o644, "");
    let error = Scanner::default().layer(&diff_id(0), &looped.tar()[..]).unwrap_err().to_string();
    assert!(error.contains("too many levels"), "{error}");
}
