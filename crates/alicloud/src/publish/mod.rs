//! A disk of this machine as an image in Alibaba Cloud: uploaded to OSS in parts, imported by ECS, the object deleted.
//!
//! ```text
//! no image of that name → bucket (made if missing) → upload → object → ImportImage → Available → object deleted
//! ```
//!
//! [`disk`] what the file is     [`import`] the image

mod disk;
mod import;

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use kiln_clouds::{Config, Environment};
use kiln_ledger::sweep::{Cloud, sweep};
use kiln_ledger::{Book, Entry, LedgerError};

use crate::account::Account;
use crate::client::Client;
use crate::ecs::{Mark, check_tag};
use crate::oss::{Oss, PART, Upload};
use crate::sweep::{Kind, Sweeper};
use crate::{AlicloudError, Result, Stop};

pub use disk::Format;

/// What is to be published, and how.
#[derive(Debug, Clone)]
pub struct Publish {
    /// Whose account, and where.
    pub account: Account,
    /// Keys, endpoints, proxies.
    pub environment: Environment,
    /// The disk.
    pub disk: PathBuf,
    /// Its format; else it is told by its content.
    pub format: Option<Format>,
    /// The bucket it goes through.
    pub bucket: String,
    /// The object; else `kiln/NAME.FORMAT`.
    pub object: Option<String>,
    /// The name of the image.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// The family it is the newest of.
    pub family: Option<String>,
    /// `x86_64`, `arm64`.
    pub architecture: String,
    /// `Debian`, `Ubuntu`, `CentOS`, `Aliyun`, `Others Linux`, …
    pub platform: String,
    /// `BIOS`, `UEFI`.
    pub boot_mode: Option<String>,
    /// Its tags.
    pub tags: Vec<(String, String)>,
    /// Accounts that may use it.
    pub share: Vec<String>,
    /// Regions it is copied to.
    pub regions: Vec<String>,
    /// Whether the copies are encrypted; what is imported is not.
    pub encrypted: bool,
    /// With which key of the key service; else with the service's own.
    pub kms_key: Option<String>,
    /// How long each import and copy may take.
    pub limit: Duration,
    /// An image of this name is deleted first.
    pub force: bool,
    /// The object stays.
    pub keep_object: bool,
    /// The RAM role that lets ECS read OSS is made if it is missing.
    pub make_role: bool,
    /// The size of a part; 0 is the usual one.
    pub part: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The image of each region, the first one its own.
    pub images: Vec<(String, String)>,
    /// `oss://BUCKET/KEY`, if it stays.
    pub object: Option<String>,
}

/// Publishes a disk. On a failure what was made is deleted again; what could not be is in the error and stays in the book.
///
/// # Errors
/// What fails on the way.
pub fn publish(order: &Publish, book: &Book, cancelled: Stop<'_>, told: &dyn Fn(&str)) -> Result<Published> {
    if let Some(why) = order.tags.iter().find_map(|(key, _)| check_tag(key).err()) {
        return Err(AlicloudError::Setting { what: why, hint: None });
    }
    let config = Config { environment: order.environment.clone(), ..Config::default() };
    let client = Client::new(&order.account, config)?;
    let work = Work { order, client: &client, book, mark: Mark::of(book.build()), stop: cancelled, told };
    let error = match work.run() {
        Ok(published) => return Ok(published),
        Err(error) => error,
    };
    if !book.open().is_empty() {
        told("Cleaning up...");
    }
    // Clean-up is not stopped by what stopped the work.
    let cloud: &dyn Cloud = &Sweeper::new(client.clone());
    let left = sweep(book, cloud, &|| false);
    match left.is_empty() {
        true => Err(error),
        false => {
            let left: Vec<String> = left.iter().map(|(_, error)| error.to_string()).collect();
            let what = format!("{error}; and these are left: {}", left.join("; "));
            Err(AlicloudError::setting(what, format!("kiln node gc --build {}", book.build())))
        }
    }
}

/// A publication that is going on.
struct Work<'a> {
    order: &'a Publish,
    client: &'a Client,
    book: &'a Book,
    mark: Mark,
    stop: Stop<'a>,
    told: &'a dyn Fn(&str),
}

impl Work<'_> {
    fn run(&self) -> Result<Published> {
        let order = self.order;
        let file = |e: std::io::Error| AlicloudError::File { path: order.disk.clone(), why: e.to_string() };
        let source = File::open(&order.disk).map_err(file)?;
        let disk = disk::look(&source, &order.disk, order.format)?;
        import::check(self, &disk)?;
        let key = order.object.clone().unwrap_or_else(|| format!("kiln/{}.{}", order.name, disk.format.extension()));
        self.bucket()?;
        let object = self.upload(&source, &disk, &key)?;
        let images = import::run(self, &disk, &key)?;
        let name = format!("oss://{}/{key}", order.bucket);
        if order.keep_object {
            ledger(self.book.strike(&object))?;
            return Ok(Published { images, object: Some(name) });
        }
        (self.told)(&format!("Deleting {name}..."));
        Oss::new(self.client).delete(&order.bucket, &key, &|| false)?;
        ledger(self.book.strike(&object))?;
        Ok(Published { images, object: None })
    }

    fn bucket(&self) -> Result<()> {
        let (oss, bucket, region) = (Oss::new(self.client), &*self.order.bucket, self.client.region());
        match oss.bucket(bucket, self.stop)? {
            Some(place) if place == region => return Ok(()),
            Some(place) => {
                let what =
                    format!("the bucket {bucket} is in {place}, and images of {region} are imported from there only");
                return Err(AlicloudError::setting(what, "name another bucket, or that region"));
            }
            None => {}
        }
        (self.told)(&format!("Creating bucket {bucket} in {region}; it stays..."));
        let mut resource = Kind::Bucket.intended(bucket, region, &self.mark);
        resource.scope.insert("bucket".to_owned(), bucket.to_owned());
        let entry = ledger(self.book.intend(resource))?;
        match oss.create_bucket(bucket, self.stop) {
            // It was never made, and may be somebody else's.
            Err(error) if error.is_definite() => {
                ledger(self.book.strike(&entry))?;
                Err(error)
            }
            Err(error) => Err(error),
            Ok(()) => ledger(self.book.strike(&entry)),
        }
    }

    /// The object's line in the ledger.
    fn upload(&self, source: &File, disk: &disk::Disk, key: &str) -> Result<Entry> {
        let (oss, bucket) = (Oss::new(self.client), &*self.order.bucket);
        let name = format!("oss://{bucket}/{key}");
        let lined = |kind: Kind| {
            let mut resource = kind.intended(&name, self.client.region(), &self.mark);
            resource.scope.insert("bucket".to_owned(), bucket.to_owned());
            resource.scope.insert("key".to_owned(), key.to_owned());
            resource
        };
        let begun = oss.uploads(bucket, key, self.stop)?.into_iter().next_back();
        let entry = ledger(self.book.intend(lined(Kind::Upload)))?;
        let id = match begun {
            Some(id) => {
                (self.told)(&format!("Going on with an upload of {name} that was begun before..."));
                id
            }
            None => {
                (self.told)(&format!("Uploading {} ({} bytes) to {name}...", self.order.disk.display(), disk.bytes));
                let (id, repeated) = oss.initiate(bucket, key, self.stop)?;
                if repeated {
                    // There was none before, so what else there is was begun by the call whose answer was lost.
                    for other in oss.uploads(bucket, key, self.stop)?.iter().filter(|other| **other != id) {
                        oss.abort(bucket, key, other, self.stop)?;
                    }
                }
                id
            }
        };
        ledger(self.book.made(&entry, &id))?;
        let part = if self.order.part == 0 { PART } else { self.order.part };
        let upload = Upload { bucket, key, source, size: disk.bytes, part };
        let tags = self.send(&oss, &upload, &id)?;
        let object = ledger(self.book.intend(lined(Kind::Object)))?;
        match oss.complete(bucket, key, &id, &tags, self.stop) {
            // What is there under that name is somebody else's.
            Err(error) if error.is_definite() => {
                ledger(self.book.strike(&object))?;
                Err(error)
            }
            Err(error) => Err(error),
            Ok(()) => {
                ledger(self.book.made(&object, &name))?;
                ledger(self.book.strike(&entry))?;
                Ok(object)
            }
        }
    }

    /// Sends the parts from other threads, and tells how far it is from this one.
    fn send(&self, oss: &Oss<'_>, upload: &Upload<'_>, id: &str) -> Result<Vec<String>> {
        use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
        let (sent, stopped, ended) = (AtomicU64::new(0), AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let told = |bytes: u64| sent.store(bytes, Ordering::Relaxed);
                let result = oss.send(upload, id, &told, &|| stopped.load(Ordering::Relaxed));
                ended.store(true, Ordering::Relaxed);
                result
            });
            let mut tenths = 0;
            while !ended.load(Ordering::Relaxed) {
                if (self.stop)() {
                    stopped.store(true, Ordering::Relaxed);
                }
                let now = sent.load(Ordering::Relaxed) * 10 / upload.size.max(1);
                if now > tenths && now < 10 {
                    tenths = now;
                    (self.told)(&format!("{}% uploaded", now * 10));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            sending.join().unwrap_or(Err(AlicloudError::Cancelled))
        })
    }
}

/// Errors of the ledger are errors of this crate.
pub(crate) fn ledger<T>(result: Result<T, LedgerError>) -> Result<T> {
    result.map_err(|error| AlicloudError::Ledger(error.to_string()))
}
