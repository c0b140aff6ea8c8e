//! The workloads, generated: the same bytes on every machine.

use std::fs;
use std::path::Path;

use crate::error::Error;

/// A build context and what it shows.
#[derive(Debug)]
pub(super) struct Workload {
    /// As given on the command line.
    pub(super) name: &'static str,
    /// What it shows.
    pub(super) about: &'static str,
    /// The Dockerfile after `FROM`.
    dockerfile: fn() -> String,
    /// Fills the context.
    fill: fn(&Path) -> Result<(), Error>,
}

const WORKLOADS: [Workload; 3] = [
    Workload { name: "w1", about: "the cost of a step", dockerfile: steps, fill: one_file },
    Workload { name: "w2", about: "many files: 50,000 in 1,000 packages", dockerfile: many, fill: many_files },
    Workload { name: "w9", about: "a long file: 60 steps", dockerfile: long, fill: |_| Ok(()) },
];

/// The workloads of these names, or all.
pub(super) fn named(names: &[String]) -> Result<Vec<&'static Workload>, Error> {
    if names.is_empty() {
        return Ok(WORKLOADS.iter().collect());
    }
    let find = |name: &String| {
        WORKLOADS.iter().find(|w| w.name.eq_ignore_ascii_case(name)).ok_or_else(|| Error::NoWorkload(name.clone()))
    };
    names.iter().map(find).collect()
}

impl Workload {
    /// Writes the context, with a Dockerfile that starts from `base`. Files that are there from an earlier run are
    /// written again, to the same bytes.
    pub(super) fn write(&self, context: &Path, base: &str) -> Result<(), Error> {
        make(context)?;
        write(&context.join("Dockerfile"), format!("FROM {base}\n{}", (self.dockerfile)()).as_bytes())?;
        (self.fill)(context)
    }
}

fn steps() -> String {
    "COPY app.conf /etc/app.conf\nRUN true\nRUN true\nRUN true\nENV A=1\nLABEL b=2\nWORKDIR /srv\nCMD [\"sh\"]\n".into()
}

fn many() -> String {
    "COPY packages /srv/packages\nRUN touch /srv/packages/p0000/f00\n".into()
}

fn long() -> String {
    (0..20).map(|i| format!("ENV E{i}={i}\nLABEL l{i}={i}\nRUN true\n")).collect()
}

fn one_file(context: &Path) -> Result<(), Error> {
    write(&context.join("app.conf"), b"listen = 8080\n")
}

fn many_files(context: &Path) -> Result<(), Error> {
    let mut random = Random(0x6b69_6c6e);
    for package in 0..1000 {
        let dir = context.join(format!("packages/p{package:04}"));
        make(&dir)?;
        for file in 0..50 {
            let size = random.file_size();
            write(&dir.join(format!("f{file:02}")), &random.text(size))?;
        }
    }
    Ok(())
}

fn make(dir: &Path) -> Result<(), Error> {
    fs::create_dir_all(dir).map_err(|cause| Error::Write { path: dir.to_owned(), cause })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::write(path, bytes).map_err(|cause| Error::Write { path: path.to_owned(), cause })
}

/// SplitMix64: small, fast, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In (0, 1].
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// Log-normal with its mode at 1.3 KB, from 40 B to 60 KB: sizes of files in packages.
    fn file_size(&mut self) -> usize {
        let (sigma, mode) = (0.8_f64, 1300.0_f64);
        let normal = (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos();
        (mode.ln() + sigma * sigma + sigma * normal).exp().clamp(40.0, 60_000.0) as usize
    }

    /// Lines of made-up words; compresses about as source code does.
    fn text(&mut self, size: usize) -> Vec<u8> {
        const SYLLABLES: &[u8] = b"ka lo mi tu re sa no vi ex port func self name data list node read item type path ";
        let mut text = Vec::with_capacity(size + 16);
        while text.len() < size {
            let bits = self.next();
            let start = (bits % SYLLABLES.len() as u64) as usize;
            let word = &SYLLABLES[start..(start + 3 + (bits >> 32) as usize % 6).min(SYLLABLES.len())];
            text.extend_from_slice(word);
            text.push(if (bits >> 40).is_multiple_of(9) { b'\n' } else { b'.' });
        }
        text.truncate(size);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_bytes_are_the_same_everywhere() {
        let mut random = Random(0x6b69_6c6e);
        let sizes: Vec<usize> = (0..2000).map(|_| random.file_size()).collect();
        assert!(sizes.iter().all(|s| (40..=60_000).contains(s)));
        let small = sizes.iter().filter(|s| **s < 5000).count();
        assert!((1400..1900).contains(&small), "{small}");
        assert_eq!(Random(7).text(100), Random(7).text(100));
        assert_eq!(Random(7).text(100).len(), 100);
        assert_eq!(Random(0).next(), 0xe220_a839_7b1d_cdaf, "the published first output for seed 0");
    }

    #[test]
    fn an_unknown_workload_is_named() {
        assert_eq!(named(&["w7".into()]).unwrap_err().to_string(), "`w7` is not a workload: w1, w2, w9");
        assert_eq!(named(&[]).unwrap().len(), 3);
    }
}
