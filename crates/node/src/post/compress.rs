//! `compress`: the artifact's files in one archive, or its one file compressed.
//!
//! | ending | is |
//! |---|---|
//! | `tar` | a tar |
//! | `tar.gz`, `tar.bz2`, `tar.xz`, `tar.lz4`, `tar.zst` | a compressed one |
//! | `zip` | a zip |
//! | `gz`, `bz2`, `xz`, `lz4`, `zst` | one file, compressed |

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use kiln_engine::{EngineError, whole};
use kiln_packer::config::Config;
use kiln_packer::render::Text;

use super::{Job, Made};
use crate::artifact::Artifact;
use crate::builder::make_parents;
use crate::error::{NodeError, Result};

/// How bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Codec {
    None,
    Gzip,
    Bzip2,
    Xz,
    Lz4,
    Zstd,
}

/// Endings, and what they mean; longer ones first.
const ENDINGS: [(&str, Codec); 7] = [
    ("gz", Codec::Gzip),
    ("gzip", Codec::Gzip),
    ("bz2", Codec::Bzip2),
    ("xz", Codec::Xz),
    ("lz4", Codec::Lz4),
    ("zst", Codec::Zstd),
    ("zstd", Codec::Zstd),
];

/// What the result is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Tar(Codec),
    Zip,
    Single(Codec),
}

/// A `compress` block.
pub struct Compress {
    output: Option<Text>,
    format: Option<Form>,
    ending: Option<String>,
    level: Option<i64>,
}

impl Compress {
    /// Reads a block.
    ///
    /// # Errors
    /// When it has mistakes.
    pub fn parse(config: &Config) -> Result<Compress> {
        let f = config.fields();
        let output = f.verbatim("output")?;
        let ending = f.string("format")?.filter(|text| !text.is_empty());
        let format = match ending.as_deref() {
            None => None,
            Some(text) => match form_of(&format!("x.{}", text.trim_start_matches('.'))) {
                Some(form) => Some(form),
                None => return Err(f.fault("format", "BadFormat", format!("there is no format `{text}`")).into()),
            },
        };
        let level = f.int("compression_level")?;
        if level.is_some_and(|level| !(-1..=22).contains(&level)) {
            return Err(f.fault("compression_level", "BadLevel", "levels are from 0 to 9, for zstd to 22").into());
        }
        f.finish()?;
        Ok(Compress { output, format, ending, level })
    }

    /// Writes the archive.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn run(&self, artifact: &Artifact, job: &Job<'_>) -> Result<Made> {
        if artifact.files.is_empty() {
            return Err(NodeError::Artifact("there are no files to compress: the artifact has none".to_owned()));
        }
        let ending = self.ending.as_deref().unwrap_or("tar.gz").trim_start_matches('.');
        let target = match &self.output {
            None => format!("packer_{}_{}.{ending}", job.build, job.kind),
            Some(text) => text.render(&[("BuildName", job.build), ("BuilderType", job.kind)])?,
        };
        let form = self.format.or_else(|| form_of(&target)).unwrap_or(Form::Tar(Codec::Gzip));
        if matches!(form, Form::Single(_)) && artifact.files.len() > 1 {
            let what = format!("{target} can hold one file, and the artifact has {}", artifact.files.len());
            return Err(NodeError::Artifact(format!("{what}; choose a tar or zip")));
        }
        let path = PathBuf::from(&target);
        if let Some(same) = artifact.files.iter().find(|f| **f == path) {
            return Err(NodeError::Artifact(format!("{} would be compressed into itself", same.display())));
        }
        make_parents(&path)?;
        job.ui.say(&format!("Compressing {} file(s) into {target}", artifact.files.len()));
        let level = self.level.filter(|level| *level >= 0);
        write(&path, &artifact.files, form, level)?;
        job.ui.message(&format!("Archive {target} completed"));
        let text = format!("compressed artifacts in: {target}");
        let made = Artifact::of_files("packer.post-processor.compress", &artifact.id, vec![path], text);
        Ok(Made { artifact: made, keep: false, forced: false })
    }
}

fn form_of(name: &str) -> Option<Form> {
    let name = name.to_ascii_lowercase();
    let base = name.rsplit('/').next().unwrap_or(&name);
    if base.ends_with(".zip") {
        return Some(Form::Zip);
    }
    if base.ends_with(".tar") {
        return Some(Form::Tar(Codec::None));
    }
    let (stem, last) = base.rsplit_once('.')?;
    if last == "tgz" {
        return Some(Form::Tar(Codec::Gzip));
    }
    let (_, codec) = ENDINGS.iter().find(|(ending, _)| *ending == last)?;
    Some(if stem.ends_with(".tar") || stem == "tar" { Form::Tar(*codec) } else { Form::Single(*codec) })
}

/// Writes an archive, which is there when it is whole.
fn write(path: &Path, files: &[PathBuf], form: Form, level: Option<i64>) -> Result<()> {
    Ok(whole::file(path, "write", |out| fill(out, path, files, form, level))?)
}

fn fill(out: &mut File, path: &Path, files: &[PathBuf], form: Form, level: Option<i64>) -> Result<(), EngineError> {
    match form {
        Form::Zip => zip(out, path, files, level),
        Form::Tar(codec) => compressed(out, path, codec, level, &mut |out| tar(out, path, files)),
        Form::Single(codec) => compressed(out, path, codec, level, &mut |out| {
            files.iter().try_for_each(|from| {
                let mut file = File::open(from).map_err(EngineError::file("read", from))?;
                io::copy(&mut file, out).map(drop).map_err(EngineError::file("compress", from))
            })
        }),
    }
}

/// What fills an archive.
type Fill<'a> = dyn FnMut(&mut dyn Write) -> Result<(), EngineError> + 'a;

fn compressed(
    out: &mut File,
    path: &Path,
    codec: Codec,
    level: Option<i64>,
    fill: &mut Fill<'_>,
) -> Result<(), EngineError> {
    let failed = |e: io::Error| EngineError::file("write", path)(e);
    let small = |default: u32| level.and_then(|l| u32::try_from(l).ok()).map_or(default, |l| l.min(9));
    let mut out = io::BufWriter::new(out);
    match codec {
        Codec::None => fill(&mut out)?,
        Codec::Gzip => {
            let mut writer = flate2::write::GzEncoder::new(&mut out, flate2::Compression::new(small(6)));
            fill(&mut writer)?;
            writer.finish().map_err(failed)?;
        }
        Codec::Bzip2 => {
            let mut writer = bzip2::write::BzEncoder::new(&mut out, bzip2::Compression::new(small(6).max(1)));
            fill(&mut writer)?;
            writer.finish().map_err(failed)?;
        }
        Codec::Xz => {
            let options = lzma_rust2::XzOptions::with_preset(small(6));
            let mut writer = lzma_rust2::XzWriter::new(&mut out, options).map_err(failed)?;
            fill(&mut writer)?;
            writer.finish().map_err(failed)?;
        }
        Codec::Lz4 => {
            let mut writer = lz4_flex::frame::FrameEncoder::new(&mut out);
            fill(&mut writer)?;
            writer.finish().map_err(|e| failed(e.into()))?;
        }
        Codec::Zstd => {
            let level = level.and_then(|l| i32::try_from(l).ok()).unwrap_or(3);
            let mut writer = zstd::Encoder::new(&mut out, level).map_err(failed)?;
            fill(&mut writer)?;
            writer.finish().map_err(failed)?;
        }
    }
    out.flush().map_err(failed)
}

fn tar(out: &mut dyn Write, path: &Path, files: &[PathBuf]) -> Result<(), EngineError> {
    let mut archive = tar::Builder::new(out);
    archive.sparse(true);
    for from in files {
        let name = from.file_name().unwrap_or(from.as_os_str());
        let mut file = File::open(from).map_err(EngineError::file("read", from))?;
        archive.append_file(name, &mut file).map_err(EngineError::file("compress", from))?;
    }
    archive.finish().map_err(EngineError::file("write", path))
}

fn zip(out: &mut File, path: &Path, files: &[PathBuf], level: Option<i64>) -> Result<(), EngineError> {
    let failed = |e: zip::result::ZipError| EngineError::file("write", path)(io::Error::other(e));
    let mut archive = zip::ZipWriter::new(io::BufWriter::new(out));
    let method = if level == Some(0) { zip::CompressionMethod::Stored } else { zip::CompressionMethod::Deflated };
    let level = level.filter(|l| (1..=9).contains(l));
    let options =
        zip::write::SimpleFileOptions::default().compression_method(method).compression_level(level).large_file(true);
    for from in files {
        let name = from.file_name().unwrap_or(from.as_os_str()).to_string_lossy().into_owned();
        archive.start_file(name, options).map_err(failed)?;
        let mut file = File::open(from).map_err(EngineError::file("read", from))?;
        io::copy(&mut file, &mut archive).map_err(EngineError::file("compress", from))?;
    }
    archive.finish().map_err(failed)?.flush().map_err(EngineError::file("write", path))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn endings_say_what_a_file_is() {
        for (name, wanted) in [
            ("a/b.tar.gz", Some(Form::Tar(Codec::Gzip))),
            ("b.TGZ", Some(Form::Tar(Codec::Gzip))),
            ("x.tar.zst", Some(Form::Tar(Codec::Zstd))),
            ("disk.raw.xz", Some(Form::Single(Codec::Xz))),
            ("x.zip", Some(Form::Zip)),
            ("x.tar", Some(Form::Tar(Codec::None))),
            ("x.rar", None),
        ] {
            assert_eq!(form_of(name), wanted, "{name}");
        }
    }

    #[test]
    fn other_tools_read_every_form() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("disk.raw");
        std::fs::write(&from, vec![7; 100_000]).unwrap();
        for (name, tool) in [
            ("a.tar.gz", "tar -xOzf a.tar.gz"),
            ("a.tar.bz2", "tar -xOjf a.tar.bz2"),
            ("a.tar.xz", "tar -xOJf a.tar.xz"),
            ("a.raw.zst", "zstd -dc a.raw.zst"),
            ("a.raw.gz", "gzip -dc a.raw.gz"),
            ("a.tar", "tar -xOf a.tar"),
            (
                "a.zip",
                "python3 -c \"import sys,zipfile; sys.stdout.buffer.write(zipfile.ZipFile('a.zip').read('disk.raw'))\"",
            ),
        ] {
            let form = form_of(name).unwrap();
            write(&dir.path().join(name), std::slice::from_ref(&from), form, Some(6)).unwrap();
            let out = Command::new("sh").args(["-c", tool]).current_dir(dir.path()).output().unwrap();
            assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
            assert!(out.stdout == vec![7; 100_000], "{name}");
        }
        // One that cannot be written leaves what was there, and nothing beside it.
        let before = std::fs::read_dir(dir.path()).unwrap().count();
        let gone = [from.clone(), dir.path().join("gone")];
        assert!(write(&dir.path().join("a.tar"), &gone, Form::Tar(Codec::None), None).is_err());
        assert!(std::fs::metadata(dir.path().join("a.tar")).unwrap().len() > 100_000);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), before);
        let mut back = Vec::new();
        write(&dir.path().join("a.lz4"), &[from], Form::Single(Codec::Lz4), None).unwrap();
        let mut reader = lz4_flex::frame::FrameDecoder::new(File::open(dir.path().join("a.lz4")).unwrap());
        io::Read::read_to_end(&mut reader, &mut back).unwrap();
        assert!(back == vec![7; 100_000]);
    }
}
