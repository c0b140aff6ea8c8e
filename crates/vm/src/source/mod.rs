//! Disk images that a template names: `iso_url`, `iso_urls`, `iso_checksum`. Fetching is the caller's; where things
//! are kept, and that they are what was asked for, is decided here.
//!
//! A file in the cache is named after its checksum, so it is found again whatever its address was; without a checksum
//! after its address. It gets that name only when it is complete and checked.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use crate::VmError;

/// The largest file of checksums that is read.
const LARGEST_LIST: u64 = 4 << 20;

/// Kinds of checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Broken, but templates use it.
    Md5,
    /// Broken, but templates use it.
    Sha1,
    /// SHA-2 with 224 bits.
    Sha224,
    /// SHA-2 with 256 bits.
    Sha256,
    /// SHA-2 with 384 bits.
    Sha384,
    /// SHA-2 with 512 bits.
    Sha512,
}

impl Kind {
    const ALL: [Kind; 6] = [Kind::Md5, Kind::Sha1, Kind::Sha224, Kind::Sha256, Kind::Sha384, Kind::Sha512];

    /// As templates spell it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Md5 => "md5",
            Kind::Sha1 => "sha1",
            Kind::Sha224 => "sha224",
            Kind::Sha256 => "sha256",
            Kind::Sha384 => "sha384",
            Kind::Sha512 => "sha512",
        }
    }

    fn digits(self) -> usize {
        match self {
            Kind::Md5 => 32,
            Kind::Sha1 => 40,
            Kind::Sha224 => 56,
            Kind::Sha256 => 64,
            Kind::Sha384 => 96,
            Kind::Sha512 => 128,
        }
    }

    /// Whether somebody could make another file with the same sum.
    pub fn is_broken(self) -> bool {
        matches!(self, Kind::Md5 | Kind::Sha1)
    }

    /// The sum of what is read, in lower-case hexadecimal digits.
    ///
    /// # Errors
    /// Reading fails.
    pub fn sum(self, from: &mut dyn Read) -> std::io::Result<String> {
        match self {
            Kind::Md5 => digest::<md5::Md5>(from),
            Kind::Sha1 => digest::<sha1::Sha1>(from),
            Kind::Sha224 => digest::<Sha224>(from),
            Kind::Sha256 => digest::<Sha256>(from),
            Kind::Sha384 => digest::<Sha384>(from),
            Kind::Sha512 => digest::<Sha512>(from),
        }
    }
}

fn digest<D: Digest>(from: &mut dyn Read) -> std::io::Result<String> {
    let mut digest = D::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(hex(&digest.finalize())),
            Ok(n) => digest.update(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// What `iso_checksum` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checksum {
    /// This sum.
    Sum(Kind, String),
    /// The one in a file at this address.
    At(String),
    /// `none`: whatever comes is taken.
    None,
}

impl Checksum {
    /// `sha256:…`, `file:ADDRESS`, `none`, or digits whose number tells the kind.
    ///
    /// # Errors
    /// It is nothing of that.
    pub fn parse(text: &str) -> Result<Checksum, VmError> {
        let text = text.trim();
        if text == "none" {
            return Ok(Checksum::None);
        }
        if let Some(address) = text.strip_prefix("file:") {
            return Ok(Checksum::At(address.to_owned()));
        }
        let bad = |why: String| Err(VmError::option("iso_checksum", why));
        let (kind, digits) = match text.split_once(':') {
            Some((name, digits)) => match Kind::ALL.into_iter().find(|k| k.name().eq_ignore_ascii_case(name)) {
                Some(kind) => (kind, digits),
                None => {
                    return bad(format!("{name:?} is none of md5, sha1, sha224, sha256, sha384, sha512, file, none"));
                }
            },
            None => match Kind::ALL.into_iter().find(|k| k.digits() == text.len()) {
                Some(kind) => (kind, text),
                None => return bad(format!("{text:?} is neither `none` nor a sum, such as `sha256:0123…`")),
            },
        };
        if digits.len() != kind.digits() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return bad(format!("{} has {} hexadecimal digits, not {digits:?}", kind.name(), kind.digits()));
        }
        Ok(Checksum::Sum(kind, digits.to_ascii_lowercase()))
    }

    /// The sum for a file of that name in a list of sums: lines of `sha256sum`, of BSD's tools, or one sum alone.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn from_list(list: &str, name: &str) -> Result<Checksum, VmError> {
        let mut found: Vec<Checksum> = Vec::new();
        let mut alone: Vec<Checksum> = Vec::new();
        for line in list.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            if let Some((kind, file, digits)) = bsd(line) {
                if base(file) == name {
                    found.extend(Checksum::parse(&format!("{kind}:{digits}")));
                }
            } else if let Some((digits, file)) = line.split_once([' ', '\t']) {
                if base(file.trim().trim_start_matches('*')) == name {
                    found.extend(Checksum::parse(digits));
                }
            } else {
                alone.extend(Checksum::parse(line));
            }
        }
        found.dedup();
        let mut candidates = if found.is_empty() { alone } else { found }.into_iter();
        match (candidates.next(), candidates.next()) {
            (Some(sum @ Checksum::Sum(..)), None) => Ok(sum),
            (Some(_), Some(_)) => Err(VmError::option("iso_checksum", format!("the list has several sums for {name}"))),
            _ => Err(VmError::option("iso_checksum", format!("the list has no sum for {name}"))),
        }
    }
}

/// `SHA256 (name) = digits`
fn bsd(line: &str) -> Option<(&str, &str, &str)> {
    let (kind, rest) = line.split_once(" (")?;
    let (file, digits) = rest.rsplit_once(") = ")?;
    Some((kind, file, digits))
}

fn base(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// Checks a file.
///
/// # Errors
/// It has another sum, or cannot be read.
pub fn verify(path: &Path, kind: Kind, wanted: &str) -> Result<(), VmError> {
    let mut file = File::open(path).map_err(VmError::file("read", path))?;
    let found = kind.sum(&mut file).map_err(VmError::file("read", path))?;
    if found.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    Err(VmError::Checksum { path: path.to_owned(), kind: kind.name(), wanted: wanted.to_owned(), found })
}

/// Gets what is at an address. The HTTP client is the caller's.
pub trait Fetch {
    /// Writes it to a file that is not there yet.
    ///
    /// # Errors
    /// One sentence.
    fn fetch(&self, address: &str, to: &Path) -> Result<(), String>;
}

/// A directory of fetched images.
#[derive(Debug, Clone)]
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// The one at `dir`, which is made when it is needed.
    pub fn at(dir: impl Into<PathBuf>) -> Cache {
        Cache { dir: dir.into() }
    }

    /// The image at one of the addresses, the first that works. A file of this machine (a path or a `file:` address)
    /// is used where it is, after its check; everything else is fetched once.
    ///
    /// # Errors
    /// None works; the error has a line for each.
    pub fn obtain(&self, addresses: &[String], checksum: &Checksum, fetch: &dyn Fetch) -> Result<PathBuf, VmError> {
        let mut tried = Vec::new();
        for address in addresses {
            match self.obtain_one(address, checksum, fetch) {
                Ok(path) => return Ok(path),
                Err(e) => tried.push(format!("{address}: {e}")),
            }
        }
        if tried.is_empty() {
            return Err(VmError::option("iso_url", "there is none"));
        }
        Err(VmError::Fetch { tried })
    }

    fn obtain_one(&self, address: &str, checksum: &Checksum, fetch: &dyn Fetch) -> Result<PathBuf, VmError> {
        let sum = self.sum(address, checksum, fetch)?;
        if let Some(path) = local(address) {
            if let Some((kind, digits)) = &sum {
                verify(&path, *kind, digits)?;
            }
            return std::fs::metadata(&path).map(|_| path.clone()).map_err(VmError::file("read", &path));
        }
        let key = match &sum {
            Some((kind, digits)) => format!("{}-{digits}", kind.name()),
            None => format!("url-{}", hex(&Sha256::digest(address.as_bytes()))),
        };
        std::fs::create_dir_all(&self.dir).map_err(VmError::file("create", &self.dir))?;
        let path = self.dir.join(format!("{key}{}", extension(address)));
        // Whoever comes second waits, and finds it done.
        let lock_path = self.dir.join(format!("{key}.lock"));
        let lock = File::create(&lock_path).map_err(VmError::file("create", &lock_path))?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|e| VmError::file("lock", &lock_path)(e.into()))?;
        if path.is_file() {
            match &sum {
                Some((kind, digits)) if verify(&path, *kind, digits).is_err() => {}
                _ => return Ok(path),
            }
        }
        let new = self.dir.join(format!("{key}.new"));
        self.fetch_to(address, &new, fetch)?;
        if let Some((kind, digits)) = &sum
            && let Err(e) = verify(&new, *kind, digits)
        {
            let _ = std::fs::remove_file(&new);
            return Err(e);
        }
        let synced = File::open(&new).and_then(|f| f.sync_all());
        synced.and_then(|()| std::fs::rename(&new, &path)).map_err(VmError::file("write", &path))?;
        Ok(path)
    }

    fn fetch_to(&self, address: &str, new: &Path, fetch: &dyn Fetch) -> Result<(), VmError> {
        match std::fs::remove_file(new) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(VmError::file("remove", new)(e)),
            _ => {}
        }
        fetch.fetch(address, new).map_err(|why| {
            let _ = std::fs::remove_file(new);
            VmError::Fetch { tried: vec![why] }
        })
    }

    /// The sum that what is at `address` must have, after reading the list that has it; `None` if any will do.
    ///
    /// # Errors
    /// The list cannot be had, or has no sum for that name.
    pub fn sum(
        &self,
        address: &str,
        checksum: &Checksum,
        fetch: &dyn Fetch,
    ) -> Result<Option<(Kind, String)>, VmError> {
        let list = match checksum {
            Checksum::None => return Ok(None),
            Checksum::Sum(kind, digits) => return Ok(Some((*kind, digits.clone()))),
            Checksum::At(list) => list,
        };
        let path = match local(list) {
            Some(path) => path,
            None => {
                std::fs::create_dir_all(&self.dir).map_err(VmError::file("create", &self.dir))?;
                let name = format!("list-{}-{}", std::process::id(), hex(&Sha256::digest(list.as_bytes())));
                let path = self.dir.join(name);
                self.fetch_to(list, &path, fetch)?;
                path
            }
        };
        let text = read_list(&path);
        if local(list).is_none() {
            let _ = std::fs::remove_file(&path);
        }
        let name = base(address.split(['?', '#']).next().unwrap_or(address));
        match Checksum::from_list(&text?, name)? {
            Checksum::Sum(kind, digits) => Ok(Some((kind, digits))),
            Checksum::At(_) | Checksum::None => Ok(None),
        }
    }
}

fn read_list(path: &Path) -> Result<String, VmError> {
    let mut text = String::new();
    let file = File::open(path).map_err(VmError::file("read", path))?;
    file.take(LARGEST_LIST).read_to_string(&mut text).map_err(VmError::file("read", path))?;
    Ok(text)
}

/// The path of a file on this machine.
fn local(address: &str) -> Option<PathBuf> {
    match address.split_once("://") {
        Some(("file", path)) => Some(PathBuf::from(path)),
        Some(_) => None,
        None => Some(PathBuf::from(address.strip_prefix("file:").unwrap_or(address))),
    }
}

/// The end of the name, which tells tools what it is: ".iso", ".qcow2".
fn extension(address: &str) -> String {
    let name = base(address.split(['?', '#']).next().unwrap_or(address));
    match name.rsplit_once('.') {
        Some((_, e)) if !e.is_empty() && e.len() <= 8 && e.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            format!(".{e}")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
