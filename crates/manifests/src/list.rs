//! Lists of images, and of images to ignore.

use kiln_oci::{Platform, Reference};
use kiln_spec::diag::Diagnostic;
use kiln_spec::glob::Pattern;
use kiln_spec::source::{Source, Span};

use crate::finder::{Candidate, Finder, Scene};
use crate::found::{Certainty, Scan};
use crate::rule;
use crate::scan::Rules;

/// Entries of a list of ignored images.
const MAX_ENTRIES: usize = 10_000;

/// Reads a list of images, such as `manifests/imageList`: one a line, `#` for comments, quotes as one likes, a `-` before
/// it as in lists of YAML, and `--platform=linux/amd64,linux/arm64` before a name for the platforms it is wanted for.
pub fn image_list(source: &Source, rules: &Rules) -> Scan {
    let mut finder = Finder::new(source, rules);
    for (line, start) in lines(&source.text) {
        let mut scene = Scene::default();
        let mut name: Option<(&str, Span)> = None;
        for (word, span) in words(line, start) {
            if let Some(platforms) = word.strip_prefix("--platform=") {
                platform_option(&mut finder, &mut scene, platforms, span);
            } else if word == "-" && name.is_none() {
                // An item of a list in YAML.
            } else if word.starts_with('-') {
                let message = format!("`{word}` is not an option of a line of this list");
                finder.report(Diagnostic::error("BadImageList", span, message).hint("only --platform=OS/ARCH is"));
            } else if name.is_some() {
                let message = format!("`{word}`: there is one image a line");
                finder.report(Diagnostic::error("BadImageList", span, message).hint("start comments with #"));
            } else {
                name = Some((word, span));
            }
        }
        match name {
            Some((text, span)) => {
                let candidate = Candidate { text, span, path: "", rule: &rule::FILE, certainty: Certainty::Named };
                finder.take(&scene, &candidate);
            }
            None if !line.is_empty() => {
                let span = Span::new(start, start + line.len());
                finder.report(Diagnostic::error("BadImageList", span, "this line names no image"));
            }
            None => {}
        }
    }
    finder.finish()
}

fn platform_option(finder: &mut Finder<'_>, scene: &mut Scene, list: &str, span: Span) {
    for word in list.split(',') {
        match word.parse::<Platform>() {
            Ok(platform) => scene.platforms.push(platform),
            Err(error) => finder.report(Diagnostic::error("BadPlatform", span, error.to_string())),
        }
    }
}

/// Lines without comments and spaces around, each with where it starts; empty ones too.
fn lines(text: &str) -> impl Iterator<Item = (&str, usize)> {
    let mut at = 0;
    text.split_inclusive('\n').map(move |line| {
        let start = at;
        at += line.len();
        let skip = if start == 0 && line.starts_with('\u{feff}') { 3 } else { 0 };
        let content = &line[skip..];
        // A `#` in a word is part of it, as in a shell.
        let comment =
            content.match_indices('#').map(|(i, _)| i).find(|&i| i == 0 || content[..i].ends_with(char::is_whitespace));
        let content = &content[..comment.unwrap_or(content.len())];
        let trimmed = content.trim_start();
        (trimmed.trim_end(), start + skip + content.len() - trimmed.len())
    })
}

/// Words of a line, without quotes around them.
fn words(line: &str, start: usize) -> impl Iterator<Item = (&str, Span)> {
    line.split_whitespace()
        .map(move |word| {
            let at = start + (word.as_ptr() as usize - line.as_ptr() as usize);
            let inner = word.trim_matches(['"', '\'']);
            let skipped = word.len() - word.trim_start_matches(['"', '\'']).len();
            (inner, Span::new(at + skipped, at + skipped + inner.len()))
        })
        .filter(|(word, _)| !word.is_empty())
}

/// Names that are not wanted, or are no images.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    text: String,
    /// The same image, however it is written.
    reference: Option<Reference>,
    pattern: Option<Pattern>,
}

impl Ignore {
    /// Reads a list: one name a line, as it is written in the files or in full, without a tag for all of them; `*` and
    /// `?` stand for anything but a slash, `**` for slashes too; `#` starts a comment.
    pub fn parse(source: &Source) -> (Ignore, Vec<Diagnostic>) {
        let (mut ignore, mut diagnostics) = (Ignore::default(), Vec::new());
        for (line, start) in lines(&source.text) {
            let text = line.trim_matches(['"', '\'']);
            let span = Span::new(start, start + line.len());
            if text.is_empty() {
                continue;
            }
            if ignore.entries.len() == MAX_ENTRIES {
                diagnostics.push(Diagnostic::error("TooManyImages", span, format!("more than {MAX_ENTRIES} entries")));
                break;
            }
            match Entry::new(text) {
                Ok(entry) => ignore.entries.push(entry),
                Err(why) => diagnostics.push(Diagnostic::error("BadPattern", span, format!("`{text}`: {why}"))),
            }
        }
        (ignore, diagnostics)
    }

    /// The entry that has a name, from 0.
    pub fn entry(&self, text: &str) -> Option<usize> {
        if self.entries.is_empty() {
            return None;
        }
        let reference = text.parse::<Reference>().ok();
        let full = reference.as_ref().map(ToString::to_string);
        self.entries.iter().position(|entry| {
            let same = entry.reference.as_ref().zip(reference.as_ref()).is_some_and(|(a, b)| covers(a, b));
            let matches = |text: &str| entry.pattern.as_ref().is_some_and(|pattern| pattern.matches(text.as_bytes()));
            entry.text == text || same || matches(text) || full.as_deref().is_some_and(matches)
        })
    }

    /// What the entries say, in their order.
    pub fn entries(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| &*entry.text)
    }
}

/// Whether an entry has an image: one without tag and digest has all of its versions.
fn covers(entry: &Reference, image: &Reference) -> bool {
    let version = |r: &Reference| (r.tag_or_latest().map(str::to_owned), r.digest.clone());
    let all = entry.tag.is_none() && entry.digest.is_none();
    entry.name() == image.name() && (all || version(entry) == version(image))
}

impl Entry {
    fn new(text: &str) -> Result<Entry, kiln_spec::glob::PatternError> {
        let pattern = text.contains(['*', '?']).then(|| Pattern::with_globstar(text.as_bytes())).transpose()?;
        let reference = if pattern.is_some() { None } else { text.parse().ok() };
        Ok(Entry { text: text.to_owned(), reference, pattern })
    }
}
