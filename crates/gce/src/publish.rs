//! A disk of this machine as an image there: packed as Google imports it, uploaded to a bucket, imported, and the object
//! taken away again.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kiln_clouds::percent;
use kiln_disk::DiskError;
use kiln_disk::image::{self, Backing, Format, Options};
use kiln_ledger::{Book, Entry};
use kiln_objects::{Config, Google, Location, ObjectError};
use serde_json::{Value, json};

use crate::auth::Credentials;
use crate::client::{Ask, Cancelled, Client};
use crate::compute::collection;
use crate::endpoints::Endpoints;
use crate::error::{GceError, Result};
use crate::marks::{self, IMAGE, Thing};
use crate::operation::{Scope, text};
use crate::{Environment, names};

/// How often a caller is asked whether it wants to stop.
const GLANCE: Duration = Duration::from_millis(20);
/// Progress of an upload is told every so many percent.
const STEP: u64 = 10;

/// What is to become of a disk.
#[derive(Debug, Clone)]
pub struct Publish {
    /// The disk: raw, qcow2, VHD, VMDK, or a tar.gz with `disk.raw` in it.
    pub disk: PathBuf,
    /// Its format; what it looks like when nothing is said.
    pub format: Option<Format>,
    /// The project of the image.
    pub project: String,
    /// The bucket that it goes through.
    pub bucket: String,
    /// The object's name in it; one of Kiln's own when nothing is said.
    pub object: Option<String>,
    /// Whether the object stays.
    pub keep_object: bool,
    /// The image's name.
    pub image: String,
    /// Its family.
    pub family: Option<String>,
    /// Its description.
    pub description: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it needs of a machine, as `UEFI_COMPATIBLE`.
    pub guest_os_features: Vec<String>,
    /// Where it is kept: a region, or `us`, `eu`, `asia`.
    pub storage_locations: Vec<String>,
    /// What is paid for.
    pub licenses: Vec<String>,
    /// `X86_64` or `ARM64`.
    pub architecture: Option<String>,
    /// The key of the key service that encrypts it: `projects/P/locations/L/keyRings/R/cryptoKeys/K`.
    pub kms_key: Option<String>,
    /// Who else may use it: `user:…`, `group:…`, `serviceAccount:…`, `domain:…`.
    pub share_with: Vec<String>,
    /// Whether an image of this name is deleted first.
    pub force: bool,
    /// How long the import may take.
    pub limit: Duration,
    /// Who asks.
    pub credentials: Credentials,
    /// Where the services are.
    pub endpoints: Endpoints,
    /// Where credentials are looked for, proxies, certificates.
    pub environment: Environment,
    /// Where the packed disk is kept meanwhile.
    pub temporary: PathBuf,
    /// Threads that compress.
    pub threads: usize,
}

impl Publish {
    /// With everything else as usual.
    pub fn new(disk: impl Into<PathBuf>, project: &str, bucket: &str, image: &str) -> Publish {
        Publish {
            disk: disk.into(),
            format: None,
            project: project.to_owned(),
            bucket: bucket.to_owned(),
            object: None,
            keep_object: false,
            image: image.to_owned(),
            family: None,
            description: None,
            labels: BTreeMap::new(),
            guest_os_features: Vec::new(),
            storage_locations: Vec::new(),
            licenses: Vec::new(),
            architecture: None,
            kms_key: None,
            share_with: Vec::new(),
            force: false,
            limit: Duration::from_secs(3600),
            credentials: Credentials::default(),
            endpoints: Endpoints::default(),
            environment: Environment::empty(),
            temporary: std::env::temp_dir(),
            threads: 1,
        }
    }

    fn check(&self) -> Result<()> {
        let wrong = |what: &str, why: &str| -> Result<()> {
            Err(GceError::Input { what: what.to_owned(), why: why.to_owned(), hint: None })
        };
        const NAME: &str = "up to 63 lower-case letters, digits and hyphens, a letter first, no hyphen last";
        if !names::is_project(&self.project) {
            return wrong("the project", "it is no identifier of one");
        }
        if !names::is_name(&self.image) {
            return wrong(&format!("the image name `{}`", self.image), NAME);
        }
        if let Some(family) = self.family.as_ref().filter(|family| !names::is_name(family)) {
            return wrong(&format!("the image family `{family}`"), NAME);
        }
        let bad = |(k, v): &(&String, &String)| !names::is_label_key(k) || !names::is_label_value(v);
        if let Some((key, value)) = self.labels.iter().find(bad) {
            return wrong(
                &format!("the label `{key}={value}`"),
                "up to 63 lower-case letters, digits, `_` and `-`; a key begins with a letter",
            );
        }
        if let Some(key) = self.labels.keys().find(|key| marks::is_ours(key)) {
            return wrong(&format!("the label `{key}`"), "it is Kiln's own: leftovers are found by it");
        }
        if self.storage_locations.len() > 1 {
            return wrong("the storage locations", "there can be one only");
        }
        self.share_with.iter().try_for_each(|member| crate::share::check(member))?;
        match self.architecture.as_deref() {
            None | Some("X86_64" | "ARM64") => Ok(()),
            Some(other) => wrong(&format!("the architecture `{other}`"), "it is neither X86_64 nor ARM64"),
        }
    }

    fn location(&self, build: &str) -> Result<Location> {
        let object = self.object.clone().unwrap_or_else(|| format!("kiln/{build}.tar.gz"));
        location(&self.bucket, &object)
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The image's name.
    pub image: String,
    /// Its project.
    pub project: String,
    /// Its address.
    pub self_link: String,
    /// The identifier the service gave.
    pub id: String,
    /// The size of a disk made from it, in GB.
    pub size: u64,
    /// The object, if it stays.
    pub object: Option<String>,
}

/// Makes an image of a disk. `book` gets what is made before it is made; on any failure what was made is deleted again,
/// and what could not be is still open in the book. `told` gets lines for people.
///
/// # Errors
/// What cannot be made of the disk; what the services refuse; [`GceError::Cancelled`] within a second of the wish.
pub fn publish(order: &Publish, book: &Book, cancelled: &dyn Fn() -> bool, told: &dyn Fn(&str)) -> Result<Published> {
    order.check()?;
    let location = order.location(book.build())?;
    let client = Client::new(order.credentials.clone(), order.endpoints.clone(), &order.environment)?;
    let work = Work { order, book, client, cancelled, told };
    let result = work.run(&location);
    if result.is_err() {
        work.clean_up();
    }
    result
}

struct Work<'a> {
    order: &'a Publish,
    book: &'a Book,
    client: Client,
    cancelled: Cancelled<'a>,
    told: &'a dyn Fn(&str),
}

impl Work<'_> {
    fn run(&self, location: &Location) -> Result<Published> {
        let order = self.order;
        (self.told)("Checking image does not exist...");
        let before = self.client.image(&order.project, &order.image, self.cancelled)?;
        if before.is_some() && !order.force {
            let what = format!("image {} in {}", order.image, order.project);
            let hint = Some("take another name, or let it be deleted: --force".to_owned());
            return Err(GceError::Input { what, why: "it is there already".to_owned(), hint });
        }
        let store = objects(&self.client, self.cancelled)?;
        if order.object.is_some() && !order.force && store.has(location)? {
            let hint = Some("take another name, or let it be replaced: --force".to_owned());
            return Err(GceError::Input { what: location.to_string(), why: "it is there already".to_owned(), hint });
        }
        let (packed, _scratch) = self.pack()?;
        let object = self.book.intend(marks::object(location.bucket(), location.key()))?;
        if let Err(error) = self.upload(&store, location, &packed) {
            if matches!(&error, GceError::Object(e) if e.is_denied() || e.is_no_bucket()) {
                self.book.strike(&object)?;
            }
            return Err(error);
        }
        if before.is_some() {
            (self.told)("Deleting previous image...");
            let what = ("image", &*order.image);
            self.client.delete(&order.project, &Scope::Global, what, order.limit, self.cancelled)?;
        }
        let published = self.import(location)?;
        if order.keep_object {
            self.book.strike(&object)?;
            return Ok(Published { object: Some(location.to_string()), ..published });
        }
        (self.told)(&format!("Deleting {location}..."));
        // The image is there and stays: what is left to do is done whatever the user wants by now.
        let on = || false;
        objects(&self.client, &on)?.delete(location).map_err(|error| {
            GceError::Left(vec![format!("{location}: {error} (the image {} is made)", order.image)])
        })?;
        self.book.strike(&object)?;
        Ok(published)
    }

    /// The archive that is imported, and what keeps it while it is needed.
    fn pack(&self) -> Result<(File, Option<tempfile::TempDir>)> {
        let path = &self.order.disk;
        let file = |action| move |source| GceError::File { action, path: path.clone(), source };
        let disk = File::open(path).map_err(file("open"))?;
        let mut magic = [0; 2];
        let archive = disk.read_exact_at(&mut magic, 0).is_ok() && magic == [0x1f, 0x8b];
        if archive && matches!(self.order.format, None | Some(Format::Gce)) {
            return Ok((disk, None));
        }
        let wrong = |source| GceError::Disk { path: path.clone(), source };
        let from = image::open(disk, self.order.format, &Backing::Refuse).map_err(wrong)?;
        (self.told)(&format!("Packing {}...", path.display()));
        let below = &self.order.temporary;
        let failed = |source| GceError::File { action: "make a directory below", path: below.clone(), source };
        let scratch = tempfile::Builder::new().prefix("kiln-gce-").tempdir_in(below).map_err(failed)?;
        let to = scratch.path().join("disk.tar.gz");
        let failed = |source| GceError::File { action: "write", path: to.clone(), source };
        let mut out = File::options().read(true).write(true).create_new(true).open(&to).map_err(failed)?;
        let options = Options { threads: self.order.threads, ..Options::new(Format::Gce) };
        image::write_until(&*from.disk, &mut out, &options, self.cancelled).map_err(|error| match error {
            DiskError::Stopped => GceError::Cancelled,
            error => wrong(error),
        })?;
        Ok((out, Some(scratch)))
    }

    fn upload(&self, store: &Store<'_>, location: &Location, packed: &File) -> Result<()> {
        let failed = |source| GceError::File { action: "read", path: self.order.disk.clone(), source };
        let size = packed.metadata().map_err(failed)?.len();
        (self.told)(&format!("Uploading {size} bytes to {location}..."));
        let (sent, shown) = (AtomicU64::new(0), Cell::new(0));
        let tell = || {
            let percent = sent.load(Ordering::Relaxed) * 100 / size.max(1);
            if percent / STEP > shown.get() {
                shown.set(percent / STEP);
                (self.told)(&format!("{} % uploaded", shown.get() * STEP));
            }
        };
        store.put(location, packed, size, &sent, &tell)
    }

    fn import(&self, location: &Location) -> Result<Published> {
        let order = self.order;
        (self.told)(&format!("Creating image {}...", order.image));
        let thing = Thing { kind: "image", name: &order.image, project: &order.project, scope: &Scope::Global };
        let entry = self.book.intend(marks::resource(thing, self.book.build()))?;
        let place = collection(&order.project, &Scope::Global, "images");
        let ask = Ask::post(place, body(order, location, self.book.build()), format!("image {}", order.image));
        let made = self.made(&entry, ask)?;
        if !order.share_with.is_empty() {
            (self.told)("Sharing the image...");
            self.client.share_image(&order.project, &order.image, &order.share_with, self.cancelled)?;
        }
        self.book.strike(&entry)?;
        Ok(made)
    }

    fn made(&self, entry: &Entry, ask: Ask) -> Result<Published> {
        let order = self.order;
        let (entries, place) = (std::slice::from_ref(entry), (&*order.project, &Scope::Global));
        self.client.make(self.book, entries, ask, place, order.limit, self.cancelled)?;
        let what = format!("image {}", order.image);
        let gone = || GceError::Protocol { what, why: "it was made and is not there".to_owned() };
        let image = self.client.image(&order.project, &order.image, self.cancelled)?.ok_or_else(gone)?;
        Ok(Published {
            size: image.size(),
            image: image.name,
            project: order.project.clone(),
            self_link: image.self_link,
            id: text(&image.id),
            object: None,
        })
    }

    /// Deletes what the failed work has made; what is left is told, and stays in the book.
    fn clean_up(&self) {
        let account = crate::sweep::Account::new(self.client.clone(), &self.order.project);
        for (resource, error) in kiln_ledger::sweep::sweep(self.book, &account, &|| false) {
            (self.told)(&format!("not deleted: {} {}: {error}", resource.kind, resource.name));
        }
    }
}

fn body(order: &Publish, location: &Location, build: &str) -> Value {
    let source = order.endpoints.public_object(location.bucket(), location.key());
    let mut labels = order.labels.clone();
    labels.insert(IMAGE.to_owned(), build.to_owned());
    let mut body = json!({
        "name": order.image,
        "description": order.description.as_deref().unwrap_or("Created by Kiln"),
        "labels": labels,
        "rawDisk": { "source": source, "containerType": "TAR" },
        "sourceType": "RAW",
    });
    if let Some(family) = &order.family {
        body["family"] = json!(family);
    }
    if let Some(architecture) = &order.architecture {
        body["architecture"] = json!(architecture);
    }
    if !order.guest_os_features.is_empty() {
        body["guestOsFeatures"] = order.guest_os_features.iter().map(|f| json!({ "type": f })).collect();
    }
    if !order.storage_locations.is_empty() {
        body["storageLocations"] = json!(order.storage_locations);
    }
    if !order.licenses.is_empty() {
        body["licenses"] = json!(order.licenses);
    }
    if let Some(key) = &order.kms_key {
        body["imageEncryptionKey"] = json!({ "kmsKeyName": key });
    }
    body
}

impl Endpoints {
    /// The address by which Compute finds an object.
    pub(crate) fn public_object(&self, bucket: &str, object: &str) -> String {
        format!("{}/{}/{}", self.storage_server(), percent::component(bucket), percent::path(object))
    }
}

fn location(bucket: &str, object: &str) -> Result<Location> {
    let wrong = |why: String| GceError::Input { what: format!("gs://{bucket}/{object}"), why, hint: None };
    let found = Location::parse(&format!("gs://{bucket}/{object}")).map_err(|e| wrong(e.to_string()))?;
    // A `?` or a `#` would not be read back as what was meant.
    match found {
        Some(found) if found.bucket() == bucket && found.key() == object => Ok(found),
        _ => Err(wrong("it is no address of an object".to_owned())),
    }
}

/// Deletes an object; whether it was there.
pub(crate) fn remove(client: &Client, bucket: &str, object: &str, cancelled: Cancelled<'_>) -> Result<bool> {
    let location = location(bucket, object)?;
    let store = objects(client, cancelled)?;
    let there = store.has(&location)?;
    if there {
        store.delete(&location)?;
    }
    Ok(there)
}

/// A client of objects that stops when the caller wants it to.
struct Store<'a> {
    client: kiln_objects::Client,
    stop: Arc<AtomicBool>,
    cancelled: Cancelled<'a>,
}

fn objects<'a>(client: &Client, cancelled: Cancelled<'a>) -> Result<Store<'a>> {
    let (stop, asks) = (Arc::new(AtomicBool::new(false)), client.clone());
    let google = Google {
        server: Some(client.endpoints().storage_server()),
        tokens: Some(Arc::new(move || asks.token().map_err(|e| e.to_string()))),
    };
    let config =
        Config { environment: client.environment().clone(), google, cancel: stop.clone(), ..Config::default() };
    Ok(Store { client: kiln_objects::Client::new(config)?, stop, cancelled })
}

impl Store<'_> {
    fn has(&self, location: &Location) -> Result<bool> {
        let client = &self.client;
        match self.obeying(|| client.head(location), &|| {}) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() && !error.is_no_bucket() => Ok(false),
            Err(error) => Err(lift(error)),
        }
    }

    fn put(&self, location: &Location, file: &File, size: u64, sent: &AtomicU64, tell: &dyn Fn()) -> Result<()> {
        let count = |bytes| {
            sent.fetch_add(bytes, Ordering::Relaxed);
        };
        let client = &self.client;
        self.obeying(|| client.put(location, file, size, &count), tell).map_err(lift)
    }

    fn delete(&self, location: &Location) -> Result<()> {
        let client = &self.client;
        self.obeying(|| client.delete(location), &|| {}).map_err(lift)
    }

    /// Does it on a thread of its own while this one asks the caller whether to stop, and tells how far it is.
    fn obeying<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, ObjectError> + Send,
        tell: &dyn Fn(),
    ) -> Result<T, ObjectError> {
        std::thread::scope(|scope| {
            let running = scope.spawn(work);
            while !running.is_finished() {
                if (self.cancelled)() {
                    self.stop.store(true, Ordering::Relaxed);
                }
                tell();
                std::thread::sleep(GLANCE);
            }
            tell();
            running.join().unwrap_or(Err(ObjectError::Cancelled))
        })
    }
}

fn lift(error: ObjectError) -> GceError {
    if error.is_cancelled() { GceError::Cancelled } else { error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_told_before_anything_is_done() {
        let order = |change: fn(&mut Publish)| {
            let mut order = Publish::new("d.raw", "p", "b-u-c", "image-1");
            change(&mut order);
            order.check().err().map(|e| e.to_string())
        };
        assert_eq!(order(|_| {}), None);
        assert!(order(|o| o.image = "Image".to_owned()).unwrap().contains("lower-case"));
        assert!(order(|o| o.family = Some("-".to_owned())).unwrap().contains("family"));
        assert!(order(|o| o.project = "a/b".to_owned()).unwrap().contains("project"));
        assert!(order(|o| o.architecture = Some("x86".to_owned())).unwrap().contains("X86_64"));
        assert!(order(|o| drop(o.labels.insert("A".to_owned(), String::new()))).unwrap().contains("label"));
        assert!(
            order(|o| drop(o.labels.insert("kiln-build".to_owned(), "x".to_owned()))).unwrap().contains("Kiln's own")
        );
        assert!(order(|o| o.storage_locations = vec!["us".to_owned(), "eu".to_owned()]).unwrap().contains("one only"));
        for (bucket, object) in [("b/u", "o"), ("buc", "../o"), ("", "o"), ("buc", ""), ("b@c", "o")] {
            assert!(location(bucket, object).is_err(), "{bucket} {object}");
        }
    }

    #[test]
    fn the_image_is_asked_for_as_the_service_wants_it() {
        let mut order = Publish::new("d.raw", "p", "buc", "image-1");
        order.guest_os_features = vec!["UEFI_COMPATIBLE".to_owned()];
        order.family = Some("f".to_owned());
        let body = body(&order, &location("buc", "a b.tar.gz").unwrap(), "u");
        assert_eq!(body["rawDisk"]["source"], "https://storage.googleapis.com/buc/a%20b.tar.gz");
        assert_eq!((&body["labels"][IMAGE], &body["family"]), (&json!("u"), &json!("f")));
        assert_eq!(body["guestOsFeatures"], json!([{ "type": "UEFI_COMPATIBLE" }]));
    }
}
