//! A disk of this machine becomes an image; nothing else stays.

use std::cell::RefCell;
use std::path::Path;
use std::time::Duration;

use kiln_alicloud::oss::Oss;
use kiln_alicloud::publish::{Publish, Published, publish};
use kiln_alicloud::{AlicloudError, Client};
use kiln_clouds::Environment;
use kiln_ledger::Book;
use kiln_testkit::ecs::{Cut, Ecs, Faults, Moment, REGION, Refuse};

use crate::{account, book, client, environment, never, quick};

/// Two parts and a little more.
const SIZE: usize = (200 << 10) + 1000;

fn bytes() -> Vec<u8> {
    (0..SIZE).map(|n| (n % 251) as u8).collect()
}

fn order(environment: Environment, dir: &Path) -> Publish {
    let disk = dir.join("node.raw");
    std::fs::write(&disk, bytes()).unwrap();
    Publish {
        account: account(),
        environment,
        disk,
        format: None,
        bucket: "kiln-images".to_owned(),
        object: None,
        name: "node-1".to_owned(),
        description: None,
        family: None,
        architecture: "x86_64".to_owned(),
        platform: "Others Linux".to_owned(),
        boot_mode: None,
        tags: vec![("team".to_owned(), "nodes".to_owned())],
        share: vec!["1234567890123456".to_owned()],
        regions: Vec::new(),
        encrypted: false,
        kms_key: None,
        limit: Duration::from_secs(60),
        force: false,
        keep_object: false,
        make_role: false,
        part: 100 << 10,
    }
}

fn run(order: &Publish, book: &Book) -> (Result<Published, AlicloudError>, Vec<String>) {
    let lines = RefCell::new(Vec::new());
    let result = publish(order, book, &never, &|line| lines.borrow_mut().push(line.to_owned()));
    (result, lines.into_inner())
}

#[test]
fn a_disk_becomes_an_image_here_and_elsewhere_and_the_object_goes() {
    let (double, kept) = (quick(), book("p1"));
    let mut order = order(environment(&double), kept.dir.path());
    order.regions = vec!["cn-beijing".to_owned()];
    let (result, lines) = run(&order, &kept.book);
    let published = result.unwrap();
    assert_eq!(published.images.len(), 2);
    assert_eq!(published.object, None);
    assert!(
        lines.iter().any(|line| line.starts_with("Creating bucket kiln-images in cn-hangzhou; it stays")),
        "{lines:?}"
    );
    let mut names: Vec<_> = double.images().into_iter().map(|(region, _, name)| (region, name)).collect();
    names.sort();
    let want = [("cn-beijing", "node-1"), (REGION, "node-1")].map(|(r, n)| (r.to_owned(), n.to_owned()));
    assert_eq!(names, want);
    assert_eq!(double.left(), Vec::<String>::new());
    assert!(kept.book.open().is_empty());
    for (_, id) in &published.images {
        assert_eq!(double.tags_of(id), [("team".to_owned(), "nodes".to_owned())]);
        assert_eq!(double.shared_with(id), ["1234567890123456"]);
    }
    let import = double.trace().into_iter().find(|call| call.action == "ImportImage").unwrap();
    assert_eq!(import.parameter("DiskDeviceMapping.1.Format"), Some("RAW"));
    assert_eq!(import.parameter("DiskDeviceMapping.1.OSSObject"), Some("kiln/node-1.raw"));
    // Again under the same name only by force.
    let (result, _) = run(&order, &kept.book);
    assert!(result.unwrap_err().to_string().contains("an image `node-1` is in cn-hangzhou already"));
    // Nobody's tag is taken for the mark of a build.
    let before = double.calls();
    let marked = Publish { tags: vec![("kiln-build".to_owned(), "x".to_owned())], ..order.clone() };
    assert!(run(&marked, &kept.book).0.unwrap_err().to_string().contains("Kiln's own"));
    assert_eq!(double.calls(), before);
    order.force = true;
    order.keep_object = true;
    let published = run(&order, &kept.book).0.unwrap();
    assert_eq!(published.object.as_deref(), Some("oss://kiln-images/kiln/node-1.raw"));
    assert_eq!(double.object("kiln-images", "kiln/node-1.raw").unwrap(), bytes());
    assert_eq!(double.images().len(), 2);
}

#[test]
fn an_upload_that_was_begun_goes_on_where_it_stopped() {
    let (double, kept) = (quick(), book("p2"));
    let order = order(environment(&double), kept.dir.path());
    let client: Client = client(&double);
    let oss = Oss::new(&client);
    oss.create_bucket("kiln-images", &never).unwrap();
    let (id, _) = oss.initiate("kiln-images", "kiln/node-1.raw", &never).unwrap();
    let source = bytes();
    let part = kiln_alicloud::oss::Upload {
        bucket: "kiln-images",
        key: "kiln/node-1.raw",
        source: &source,
        size: 100 << 10,
        part: 100 << 10,
    };
    oss.send(&part, &id, &|_| {}, &|| false).unwrap();
    let before = double.calls();
    let (result, lines) = run(&order, &kept.book);
    result.unwrap();
    assert!(lines.iter().any(|line| line.starts_with("Going on with an upload")), "{lines:?}");
    let sent: Vec<_> =
        double.trace().into_iter().filter(|call| call.number > before && call.action == "UploadPart").collect();
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert!(double.left().is_empty());
}

#[test]
fn whatever_fails_nothing_is_left() {
    let cases: [(Faults, &str); 5] = [
        (
            Faults { refuse: vec![Refuse::new("ImportImage", 403, "QuotaExceed.Image", 1)], ..Faults::default() },
            "QuotaExceed.Image",
        ),
        (Faults { images_fail: true, ..Faults::default() }, "is CreateFailed"),
        (
            Faults { refuse: vec![Refuse::new("UntagResources", 403, "Forbidden.RAM", 1)], ..Faults::default() },
            "Forbidden.RAM",
        ),
        (Faults { cut: Some(Cut { call: 7, when: Moment::After }), throttled: vec![5], ..Faults::default() }, ""),
        (
            Faults {
                refuse: vec![Refuse::new("ModifyImageSharePermission", 400, "InvalidAccount.NotFound", 1)],
                ..Faults::default()
            },
            "InvalidAccount",
        ),
    ];
    for (n, (faults, words)) in cases.into_iter().enumerate() {
        let double = Ecs::with(Faults { pending: 0, ..faults });
        let kept = book(&format!("f{n}"));
        let (result, _) = run(&order(environment(&double), kept.dir.path()), &kept.book);
        match result {
            Ok(_) => assert_eq!(words, ""),
            Err(error) => assert!(!words.is_empty() && error.to_string().contains(words), "{words}: {error}"),
        }
        assert_eq!(double.left(), Vec::<String>::new(), "{words}");
        assert!(kept.book.open().is_empty());
    }
}

#[test]
fn a_missing_role_is_explained_or_made() {
    let (double, kept) = (quick(), book("p3"));
    double.allow_import(false);
    let mut order = order(environment(&double), kept.dir.path());
    let error = run(&order, &kept.book).0.unwrap_err();
    assert!(error.to_string().contains("NoSetRoletoECSServiceAcount"), "{error}");
    assert!(error.hint().unwrap().contains("AliyunECSImageImportDefaultRole"));
    assert!(double.left().is_empty() && double.images().is_empty());
    order.make_role = true;
    let (result, lines) = run(&order, &kept.book);
    result.unwrap();
    assert!(lines.iter().any(|line| line.contains("Creating RAM role AliyunECSImageImportDefaultRole")), "{lines:?}");
}

#[test]
fn somebody_elses_object_is_not_touched_and_a_cancel_takes_all_away() {
    let (double, kept) = (quick(), book("p4"));
    let mut order = order(environment(&double), kept.dir.path());
    order.keep_object = true;
    run(&order, &kept.book).0.unwrap();
    order.name = "node-2".to_owned();
    order.object = Some("kiln/node-1.raw".to_owned());
    let error = run(&order, &kept.book).0.unwrap_err();
    assert!(error.to_string().contains("FileAlreadyExists"), "{error}");
    assert!(double.object("kiln-images", "kiln/node-1.raw").is_some());
    order.object = None;
    order.name = "node-3".to_owned();
    let after = double.calls() + 6;
    let error = publish(&order, &kept.book, &|| double.calls() >= after, &|_| {}).unwrap_err();
    assert!(matches!(error, AlicloudError::Cancelled), "{error}");
    assert_eq!(double.left(), ["object oss://kiln-images/kiln/node-1.raw"]);
    order.account.region = Some("cn-beijing".to_owned());
    let error = run(&order, &kept.book).0.unwrap_err();
    assert!(error.to_string().contains("the bucket kiln-images is in cn-hangzhou"), "{error}");
}
