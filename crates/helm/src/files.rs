//! The files of a chart, by their names: from an archive, or as the caller has them.

use std::collections::BTreeMap;
use std::io::Read;

use crate::error::ChartError;
use crate::ignore::Ignore;

/// Bytes of all files of a chart.
pub const MAX_TOTAL: usize = 128 << 20;
/// Bytes of one file.
pub const MAX_FILE: usize = 16 << 20;
/// Files of a chart.
pub const MAX_FILES: usize = 20_000;

/// Files by name: relative, with `/`, without `.` and `..`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    named: BTreeMap<String, Vec<u8>>,
    total: usize,
}

impl Files {
    /// None.
    pub fn new() -> Files {
        Files::default()
    }

    /// Adds a file.
    ///
    /// # Errors
    /// When its name leads out of the chart, or it is too large, as it is or with all others.
    pub fn add(&mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Result<(), ChartError> {
        let bytes = bytes.into();
        let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        if !name.split('/').all(plain) || name.contains(['\\', '\0']) {
            return Err(ChartError::Escapes { name: name.to_owned() });
        }
        if bytes.len() > MAX_FILE {
            return Err(ChartError::TooLarge { what: format!("the file `{name}`"), limit: MAX_FILE });
        }
        self.total += bytes.len();
        if self.total > MAX_TOTAL {
            return Err(ChartError::TooLarge { what: "all files of the chart".to_owned(), limit: MAX_TOTAL });
        }
        if self.named.len() >= MAX_FILES {
            return Err(ChartError::TooLarge { what: "the number of files".to_owned(), limit: MAX_FILES });
        }
        self.named.insert(name.to_owned(), bytes);
        Ok(())
    }

    /// Reads a chart's archive: tar, compressed with gzip, all below one directory, whose name is left out.
    ///
    /// # Errors
    /// When it is no such archive, has links that lead somewhere, or is too large.
    pub fn archive(read: impl Read) -> Result<Files, ChartError> {
        let broken = |error: std::io::Error| ChartError::Archive { message: error.to_string() };
        // Whatever is behind the limit is not read: what is cut there is no archive.
        let limit = u64::try_from(MAX_TOTAL + MAX_FILES * 1024).unwrap_or(u64::MAX);
        let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(read).take(limit));
        let mut files = Files::new();
        for entry in archive.entries().map_err(broken)? {
            let mut entry = entry.map_err(broken)?;
            let kind = entry.header().entry_type();
            if kind.is_dir() || kind.is_pax_global_extensions() || kind.is_pax_local_extensions() {
                continue;
            }
            let path = entry.path_bytes().into_owned();
            let path = String::from_utf8(path).map_err(|_| ChartError::Archive { message: "a name is no UTF-8".to_owned() })?;
            if !kind.is_file() {
                return Err(ChartError::Archive { message: format!("`{path}` is no plain file") });
            }
            let Some((_, name)) = path.strip_prefix("./").unwrap_or(&path).split_once('/') else {
                return Err(ChartError::Archive { message: format!("`{path}` is not in the directory of the chart") });
            };
            if entry.size() > MAX_FILE as u64 {
                return Err(ChartError::TooLarge { what: format!("the file `{name}`"), limit: MAX_FILE });
            }
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(broken)?;
            files.add(name, bytes)?;
        }
        if files.is_empty() {
            return Err(ChartError::Archive { message: "it holds no files".to_owned() });
        }
        Ok(files)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// The bytes of a file.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.named.get(name).map(Vec::as_slice)
    }

    /// Names and bytes, in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.named.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
    }

    /// Those that the chart's own `.helmignore`, and Helm's rule about hidden files in `templates`, leave.
    ///
    /// # Errors
    /// When a line of `.helmignore` is no pattern.
    pub fn without_ignored(&self) -> Result<Files, ChartError> {
        let rules = String::from_utf8_lossy(self.get(".helmignore").unwrap_or_default()).into_owned();
        let ignore = Ignore::parse(&rules).map_err(|message| ChartError::Ignore { message })?;
        let mut kept = Files::new();
        for (name, bytes) in self.iter().filter(|(name, _)| !ignore.leaves_out(name)) {
            kept.add(name, bytes)?;
        }
        Ok(kept)
    }

    /// Those below `directory`, with names from there.
    pub(crate) fn below(&self, directory: &str) -> Files {
        let prefix = format!("{directory}/");
        let mut found = Files::new();
        for (name, bytes) in self.named.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix)) {
            found.total += bytes.len();
            found.named.insert(name[prefix.len()..].to_owned(), bytes.clone());
        }
        found
    }
}

/// A text of a chart, without the mark of the byte order.
pub(crate) fn text(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}
