//! Sums against known answers, lists in every form, and a cache that is lied to.

use std::cell::RefCell;
use std::collections::HashMap;

use super::*;

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn sums_are_right() {
    let sum = |kind: Kind, text: &str| kind.sum(&mut text.as_bytes()).unwrap();
    let long = "1234567890".repeat(8);
    assert_eq!(sum(Kind::Md5, ""), "d41d8cd98f00b204e9800998ecf8427e");
    assert_eq!(sum(Kind::Md5, "abc"), "900150983cd24fb0d6963f7d28e17f72");
    assert_eq!(sum(Kind::Md5, &long), "57edf4a22be3c955ac49da2e2107b67a");
    assert_eq!(sum(Kind::Sha1, "abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
    assert_eq!(sum(Kind::Sha256, ""), EMPTY);
    // Every length around a block's end, against one sum of all in pieces of another size.
    for length in 50..70 {
        let text = "x".repeat(length);
        assert_eq!(sum(Kind::Md5, &text), Kind::Md5.sum(&mut Slow(text.as_bytes())).unwrap());
    }
}

/// Gives one byte at a time.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.0.len().min(1);
        buffer[..length].copy_from_slice(&self.0[..length]);
        self.0 = &self.0[length..];
        Ok(length)
    }
}

#[test]
fn checksums_are_read() {
    let sum = |text: &str| Checksum::parse(text);
    assert_eq!(sum(&format!("sha256:{EMPTY}")).unwrap(), Checksum::Sum(Kind::Sha256, EMPTY.to_owned()));
    assert_eq!(sum(&EMPTY.to_uppercase()).unwrap(), Checksum::Sum(Kind::Sha256, EMPTY.to_owned()));
    assert_eq!(sum("none").unwrap(), Checksum::None);
    assert_eq!(sum("file:http://x/SUMS").unwrap(), Checksum::At("http://x/SUMS".to_owned()));
    for bad in ["", "sha256:12", "crc:12", "nonsense", "sha1:zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"] {
        assert!(matches!(sum(bad), Err(VmError::Option { .. })), "{bad}");
    }
}

#[test]
fn lists_of_sums_are_read() {
    let list = format!(
        "# comment\n{EMPTY}  other.iso\n{}  ./dir/disk.iso\nMD5 (bsd (1).iso) = d41d8cd98f00b204e9800998ecf8427e\n{} *win.iso\n",
        EMPTY.replace('e', "0"),
        EMPTY.replace('e', "1"),
    );
    let sum = |name: &str| match Checksum::from_list(&list, name) {
        Ok(Checksum::Sum(kind, digits)) => format!("{} {}", kind.name(), &digits[..4]),
        Ok(_) => "?".to_owned(),
        Err(e) => e.to_string(),
    };
    assert_eq!(sum("disk.iso"), "sha256 03b0");
    assert_eq!(sum("bsd (1).iso"), "md5 d41d");
    assert_eq!(sum("win.iso"), "sha256 13b0");
    assert_eq!(sum("absent.iso"), "`iso_checksum`: the list has no sum for absent.iso");
    assert!(Checksum::from_list(EMPTY, "anything").is_ok());
    let twice = format!("{EMPTY}  a\n{}  a\n", EMPTY.replace('e', "0"));
    assert!(Checksum::from_list(&twice, "a").unwrap_err().to_string().contains("several sums"));
    assert!(Checksum::from_list(&format!("{EMPTY}\n{}\n", EMPTY.replace('e', "0")), "a").is_err());
}

#[derive(Default)]
struct Web {
    pages: HashMap<&'static str, String>,
    asked: RefCell<Vec<String>>,
}

impl Fetch for Web {
    fn fetch(&self, address: &str, to: &Path) -> Result<(), String> {
        self.asked.borrow_mut().push(address.to_owned());
        assert!(!to.exists());
        let page = self.pages.get(address).ok_or("404")?;
        std::fs::write(to, page).map_err(|e| e.to_string())
    }
}

fn sum_of(text: &str) -> String {
    Kind::Sha256.sum(&mut text.as_bytes()).unwrap()
}

#[test]
fn images_are_fetched_once_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path().join("cache"));
    let list = format!("{}  disk.qcow2\n", sum_of("image"));
    let web = Web {
        pages: HashMap::from([
            ("http://bad/disk.qcow2", "something else".to_owned()),
            ("http://good/disk.qcow2?token=1", "image".to_owned()),
            ("http://good/SUMS", list),
        ]),
        ..Web::default()
    };
    let addresses =
        ["http://absent/disk.qcow2", "http://bad/disk.qcow2", "http://good/disk.qcow2?token=1"].map(str::to_owned);
    let checksum = Checksum::parse("file:http://good/SUMS").unwrap();
    let path = cache.obtain(&addresses, &checksum, &web).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "image");
    assert_eq!(path.file_name().unwrap().to_str().unwrap(), format!("sha256-{}.qcow2", sum_of("image")));
    // From now on by its sum, wherever it is said to be.
    let asked = web.asked.borrow().len();
    let known = Checksum::Sum(Kind::Sha256, sum_of("image"));
    assert_eq!(cache.obtain(&addresses[..1], &known, &web).unwrap(), path);
    assert_eq!(web.asked.borrow().len(), asked);
    // One that was spoilt is fetched again.
    std::fs::write(&path, "spoilt").unwrap();
    assert_eq!(cache.obtain(&addresses[2..], &known, &web).unwrap(), path);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "image");
    let error = cache.obtain(&addresses[..2], &Checksum::Sum(Kind::Sha256, sum_of("x")), &web).unwrap_err().to_string();
    assert!(error.contains("404") && error.contains("was asked for"), "{error}");
    let left: Vec<_> = std::fs::read_dir(dir.path().join("cache")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(
        left.iter().all(|n| !n.to_string_lossy().ends_with(".new") && !n.to_string_lossy().starts_with("list-")),
        "{left:?}"
    );
}

#[test]
fn files_of_this_machine_are_used_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("base.img");
    std::fs::write(&file, "image").unwrap();
    let cache = Cache::at(dir.path().join("cache"));
    let web = Web::default();
    let good = Checksum::Sum(Kind::Sha256, sum_of("image"));
    for address in [file.display().to_string(), format!("file://{}", file.display())] {
        assert_eq!(cache.obtain(std::slice::from_ref(&address), &good, &web).unwrap(), file);
        assert_eq!(cache.obtain(&[address], &Checksum::None, &web).unwrap(), file);
    }
    let bad = Checksum::Sum(Kind::Sha256, sum_of("other"));
    assert!(cache.obtain(&[file.display().to_string()], &bad, &web).is_err());
    assert!(cache.obtain(&["/absent".to_owned()], &Checksum::None, &web).is_err());
    assert!(cache.obtain(&[], &Checksum::None, &web).is_err());
    assert!(!dir.path().join("cache").exists());
}
