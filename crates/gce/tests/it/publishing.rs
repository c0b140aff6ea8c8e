//! A disk as an image.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;

use kiln_gce::{Credentials, GceError, Publish, Published, Source};
use kiln_testkit::Compute;
use kiln_testkit::compute::{BUCKET, Faults, OperationError, PROJECT};

use crate::{book, endpoints, never};

struct Bench {
    double: Compute,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(faults: Faults) -> Bench {
        Bench { double: Compute::with(faults), dir: tempfile::tempdir().unwrap() }
    }

    /// A disk with something at its end, sparse.
    fn disk(&self) -> PathBuf {
        use std::os::unix::fs::FileExt as _;
        let path = self.dir.path().join("disk.raw");
        let file = std::fs::File::create(&path).unwrap();
        file.write_all_at(b"last words", 20 << 20).unwrap();
        path
    }

    fn order(&self) -> Publish {
        Publish {
            credentials: Credentials { source: Source::File(self.double.account()), impersonate: None },
            endpoints: endpoints(&self.double),
            temporary: self.dir.path().to_owned(),
            guest_os_features: vec!["UEFI_COMPATIBLE".to_owned()],
            family: Some("nodes".to_owned()),
            ..Publish::new(self.disk(), PROJECT, BUCKET, "node-1")
        }
    }

    fn publish(&self, order: &Publish, cancelled: &dyn Fn() -> bool) -> (Result<Published, GceError>, String) {
        let book = book(self.dir.path(), &kiln_clouds::uuid::random().unwrap());
        let said = RefCell::new(String::new());
        let told = |line: &str| said.borrow_mut().push_str(&format!("{line}\n"));
        let result = kiln_gce::publish::publish(order, &book, cancelled, &told);
        assert!(book.open().is_empty(), "{:?}", book.open());
        (result, said.into_inner())
    }
}

#[test]
fn a_disk_becomes_an_image_and_the_object_goes() {
    let b = Bench::new(Faults::default());
    let (published, said) = b.publish(&b.order(), &never);
    let published = published.unwrap();
    assert_eq!((&*published.image, published.size, &published.object), ("node-1", 1, &None));
    assert_eq!(b.double.images(), ["node-1"]);
    assert!(b.double.left().is_empty(), "{:?}", b.double.left());
    let image = b.double.image("node-1").unwrap();
    assert_eq!((&image["family"], &image["guestOsFeatures"][0]["type"]), (&"nodes".into(), &"UEFI_COMPATIBLE".into()));
    assert!(said.contains("Packing ") && said.contains("100 % uploaded") && said.contains("Deleting gs://"), "{said}");
    let left: Vec<_> = std::fs::read_dir(b.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "only the disk and the books: {left:?}");
}

#[test]
fn an_archive_is_uploaded_as_it_is_and_the_object_may_stay() {
    let b = Bench::new(Faults::default());
    let path = b.dir.path().join("disk.tar.gz");
    let mut out = std::fs::File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    let disk = std::fs::File::open(b.disk()).unwrap();
    let options = kiln_disk::image::Options::new(kiln_disk::image::Format::Gce);
    kiln_disk::image::write(&disk, &mut out, &options).unwrap();
    let order = Publish { disk: path, keep_object: true, object: Some("a/b c.tar.gz".to_owned()), ..b.order() };
    let (published, said) = b.publish(&order, &never);
    assert_eq!(published.unwrap().object.unwrap(), format!("gs://{BUCKET}/a/b c.tar.gz"));
    assert_eq!(b.double.objects(), [format!("gs://{BUCKET}/a/b c.tar.gz")]);
    assert!(!said.contains("Packing"), "{said}");
}

#[test]
fn an_image_of_that_name_is_in_the_way_unless_it_is_to_be_replaced() {
    let b = Bench::new(Faults::default());
    b.publish(&b.order(), &never).0.unwrap();
    let error = b.publish(&b.order(), &never).0.unwrap_err();
    assert!(error.to_string().contains("it is there already") && error.hint().unwrap().contains("force"), "{error}");
    let before = b.double.image("node-1").unwrap()["labels"]["kiln-image"].clone();
    b.publish(&Publish { force: true, ..b.order() }, &never).0.unwrap();
    assert_ne!(b.double.image("node-1").unwrap()["labels"]["kiln-image"], before);
}

#[test]
fn what_fails_leaves_nothing() {
    let fault = OperationError {
        action: "images.insert".to_owned(),
        code: "INVALID_IMAGE".to_owned(),
        message: "The tar archive is not a valid image".to_owned(),
        times: u32::MAX,
    };
    let b = Bench::new(Faults { operation: Some(fault), ..Faults::default() });
    let error = b.publish(&b.order(), &never).0.unwrap_err();
    assert!(error.to_string().contains("INVALID_IMAGE"), "{error}");
    assert!(b.double.left().is_empty() && b.double.images().is_empty());

    let b = Bench::new(Faults::default());
    let (result, _) = b.publish(&Publish { bucket: "no-such-bucket".to_owned(), ..b.order() }, &never);
    assert!(result.unwrap_err().to_string().contains("bucket"));
    let error = b.publish(&Publish { disk: "/nowhere.raw".into(), ..b.order() }, &never).0.unwrap_err();
    assert!(error.to_string().contains("/nowhere.raw"), "{error}");
    let broken = b.dir.path().join("broken.qcow2");
    std::fs::write(&broken, b"QFI\xfb\0\0\0\x03garbage").unwrap();
    let error = b.publish(&Publish { disk: broken, ..b.order() }, &never).0.unwrap_err();
    assert!(matches!(error, GceError::Disk { .. }), "{error}");
}

#[test]
fn a_wish_to_stop_while_the_disk_is_packed_is_heard_in_the_middle_of_it() {
    let b = Bench::new(Faults::default());
    // Nothing that can be compressed: 128 MiB, which take longer than it takes to stop.
    let (mut word, mut bytes) = (1_u64, Vec::with_capacity(128 << 20));
    while bytes.len() < 128 << 20 {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&word.to_be_bytes()[..4]);
    }
    let whole = bytes.len() as u64;
    std::fs::write(b.dir.path().join("large.raw"), bytes).unwrap();
    // How much of the archive is there whenever it is asked whether to stop.
    let packed = || -> Option<u64> {
        let scratch = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("kiln-gce-");
        let dir = std::fs::read_dir(b.dir.path()).unwrap().map(Result::unwrap).find(scratch)?;
        Some(std::fs::metadata(dir.path().join("disk.tar.gz")).ok()?.len())
    };
    let seen = Cell::new(None);
    let cancelled = || {
        seen.set(packed().or(seen.get()));
        seen.get().is_some()
    };
    let order = Publish { disk: b.dir.path().join("large.raw"), ..b.order() };
    let (result, said) = b.publish(&order, &cancelled);
    let error = result.unwrap_err();
    assert!(error.is_cancelled() && said.contains("Packing ") && !said.contains("Uploading"), "{error}: {said}");
    assert!(seen.get().unwrap() < whole / 2, "{:?} of {whole}", seen.get());
    assert!(packed().is_none() && b.double.objects().is_empty());
}

#[test]
fn a_wish_to_stop_while_it_is_imported_takes_back_what_was_made() {
    let b = Bench::new(Faults { stuck: Some("insert"), ..Faults::default() });
    let double = &b.double;
    let cancelled = || double.trace().iter().any(|call| call.action == "operations.get");
    let error = b.publish(&b.order(), &cancelled).0.unwrap_err();
    assert!(error.is_cancelled(), "{error}");
    assert!(double.left().is_empty() && double.images().is_empty(), "{:?} {:?}", double.left(), double.images());
}
