//! qemu-img and the makers of discs, as they are installed.

use std::collections::BTreeMap;
use std::process::Command;

use kiln_testkit::tools::tool;
use kiln_vm::VmError;
use kiln_vm::image::{ImageArgs, QemuImg};
use kiln_vm::seed::{Format, Seed};

fn img(args: ImageArgs) -> QemuImg {
    QemuImg::find(tool("qemu-img").parent().map(AsRef::as_ref), args).unwrap()
}

#[test]
fn images_are_made_converted_and_grown() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let plain = img(ImageArgs::default());
    plain.create(&at("base.qcow2"), "qcow2", Some("8M"), None).unwrap();
    plain.create(&at("over.qcow2"), "qcow2", None, Some((&at("base.qcow2"), "qcow2"))).unwrap();
    let info = plain.info(&at("over.qcow2"), None).unwrap();
    assert_eq!((info.format.as_str(), info.virtual_size), ("qcow2", 8 << 20));
    assert_eq!(info.backing.as_deref(), at("base.qcow2").to_str());
    plain.resize(&at("over.qcow2"), "qcow2", "16M").unwrap();
    plain.convert(&at("over.qcow2"), &at("flat.raw"), "raw", false).unwrap();
    assert_eq!(std::fs::metadata(at("flat.raw")).unwrap().len(), 16 << 20);
    let error = plain.resize(&at("flat.raw"), "raw", "1M").unwrap_err();
    assert!(matches!(&error, VmError::Failed { said, .. } if said.concat().contains("shrink")), "{error}");
    let args = ImageArgs {
        create: vec!["-o".into(), "cluster_size=2M".into()],
        convert: vec!["-o".into(), "compat=0.10".into()],
        resize: vec!["--shrink".into()],
    };
    let given = img(args);
    given.resize(&at("flat.raw"), "raw", "1M").unwrap();
    given.create(&at("large.qcow2"), "qcow2", Some("8M"), None).unwrap();
    given.convert(&at("flat.raw"), &at("old.qcow2"), "qcow2", true).unwrap();
    // Bytes of the format itself: the version, and the size of a cluster as a power of two.
    let header = |name: &str| std::fs::read(at(name)).unwrap()[4..24].to_vec();
    assert_eq!((header("old.qcow2")[3], header("large.qcow2")[19]), (2, 21));
    // A raw disk that pretends to be something with a file below it is read as what it is said to be.
    std::fs::copy(at("over.qcow2"), at("trap.raw")).unwrap();
    assert_eq!(plain.info(&at("trap.raw"), Some("raw")).unwrap().backing, None);
    assert!(plain.info(&at("absent"), None).is_err());
}

#[test]
fn discs_have_their_label_and_long_names() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("seed.iso");
    let seed = Seed {
        label: "cidata".to_owned(),
        content: BTreeMap::from([
            ("user-data".to_owned(), b"#cloud-config\n".to_vec()),
            ("deep/a rather long name.conf".to_owned(), b"x".to_vec()),
        ]),
        ..Seed::default()
    };
    let xorriso = tool("xorriso");
    assert_eq!(seed.disc(&image, dir.path(), xorriso.parent().map(AsRef::as_ref), None).unwrap(), Format::Iso);
    let bytes = std::fs::read(&image).unwrap();
    // The primary volume descriptor is in sector 16.
    assert_eq!(&bytes[32769..32774], b"CD001");
    assert_eq!(String::from_utf8_lossy(&bytes[32808..32840]).trim_end(), "cidata");
    let output = Command::new(xorriso).arg("-indev").arg(&image).args(["-find", "/", "-type", "f"]).output().unwrap();
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(listed.contains("'/user-data'") && listed.contains("'/deep/a rather long name.conf'"), "{listed}");
}
