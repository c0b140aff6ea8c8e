//! Takes what the rules find: parses it, or says why not.

use kiln_oci::{Platform, Reference};
use kiln_spec::diag::Diagnostic;
use kiln_spec::source::{Source, Span};
use kiln_yaml::inner::Places;

use crate::found::{Certainty, Found, Ignored, Object, Place, Scan};
use crate::rule::Rule;
use crate::scan::Rules;
use crate::word;

/// Images of one file.
pub const MAX_IMAGES: usize = 20_000;
/// Diagnostics of one file; more help nobody.
pub const MAX_DIAGNOSTICS: usize = 1000;

/// Where the search is: an object, and how its text lies in the file.
#[derive(Clone, Default)]
pub struct Scene {
    /// The object that is searched.
    pub object: Option<Object>,
    /// How certain its images are at most.
    pub at_most: Option<Certainty>,
    /// For which platforms they are.
    pub platforms: Vec<Platform>,
    /// The texts around this one, the innermost last.
    pub around: Vec<Places>,
    /// What stands before the paths in it.
    pub prefix: String,
}

impl Scene {
    /// Where a span of the text that is searched is in the file.
    pub fn outer(&self, span: Span) -> Span {
        self.around.iter().rev().fold(span, |span, places| places.outer(span))
    }

    /// A path in the object, as messages show it.
    fn path(&self, path: &str) -> String {
        match (self.prefix.is_empty(), path.is_empty()) {
            (true, _) => path.to_owned(),
            (false, true) => self.prefix.clone(),
            (false, false) => format!("{} > {path}", self.prefix),
        }
    }
}

/// A name that a rule found.
pub struct Candidate<'a> {
    pub text: &'a str,
    pub span: Span,
    pub path: &'a str,
    pub rule: &'static Rule,
    pub certainty: Certainty,
}

/// Collects what is found in a file.
pub struct Finder<'a> {
    pub source: &'a Source,
    pub rules: &'a Rules,
    scan: Scan,
    full: bool,
}

impl<'a> Finder<'a> {
    pub fn new(source: &'a Source, rules: &'a Rules) -> Finder<'a> {
        Finder { source, rules, scan: Scan::default(), full: false }
    }

    /// Takes a name, with what is known of its place.
    pub fn take(&mut self, scene: &Scene, candidate: &Candidate<'_>) {
        let text = candidate.text.trim();
        let span = scene.outer(candidate.span);
        let certainty = candidate.certainty.min(scene.at_most.unwrap_or(Certainty::Named));
        if text.is_empty() {
            return;
        }
        if let Some(entry) = self.rules.ignore.entry(text) {
            self.scan.ignored.push(Ignored { text: text.to_owned(), place: self.place(span), entry });
            return;
        }
        if word::is_template(text) {
            if certainty == Certainty::Named {
                self.report(templated(text, span));
            }
            return;
        }
        match text.parse::<Reference>() {
            Ok(reference) => self.found(Found {
                text: text.to_owned(),
                reference,
                place: self.place(span),
                object: scene.object.clone(),
                path: scene.path(candidate.path),
                rule: candidate.rule,
                certainty,
                platforms: scene.platforms.clone(),
            }),
            Err(error) if certainty == Certainty::Named => {
                let place = scene.object.as_ref().map(|object| format!("{object}, {}", scene.path(candidate.path)));
                let mut diagnostic = Diagnostic::error("BadImage", span, error.to_string())
                    .hint("if it is not an image, put it on the list of ignored images");
                diagnostic.notes.extend(place);
                self.report(diagnostic);
            }
            Err(_) => {}
        }
    }

    fn found(&mut self, found: Found) {
        if self.scan.images.len() < MAX_IMAGES {
            self.scan.images.push(found);
        } else if !std::mem::replace(&mut self.full, true) {
            let message = format!("more than {MAX_IMAGES} images in one file");
            self.report(Diagnostic::error("TooManyImages", found.place.span, message));
        }
    }

    /// Takes a diagnostic whose span is one of the file.
    pub fn report(&mut self, diagnostic: Diagnostic) {
        if self.scan.diagnostics.len() < MAX_DIAGNOSTICS {
            self.scan.diagnostics.push(diagnostic);
        }
    }

    fn place(&self, span: Span) -> Place {
        Place { file: self.source.name.clone(), line: 0, column: 0, span }
    }

    /// All that was found, in the order of the file, with lines and columns.
    pub fn finish(self) -> Scan {
        let mut scan = self.scan;
        scan.images.sort_by_key(|found| found.place.span);
        scan.ignored.sort_by_key(|ignored| ignored.place.span);
        scan.diagnostics.sort_by_key(|diagnostic| diagnostic.span);
        number(&self.source.text, scan.images.iter_mut().map(|found| &mut found.place));
        number(&self.source.text, scan.ignored.iter_mut().map(|ignored| &mut ignored.place));
        scan
    }
}

fn templated(text: &str, span: Span) -> Diagnostic {
    Diagnostic::warning("TemplatedImage", span, format!("which image `{text}` is, is not known before it is rendered"))
        .hint("render the file before it is packed, or put the image on the list of images")
}

/// Lines and columns of places that are sorted, in one pass over the text.
fn number<'p>(text: &str, places: impl Iterator<Item = &'p mut Place>) {
    let (mut at, mut line, mut column) = (0, 1, 1);
    for place in places {
        let start = text.floor_char_boundary(place.span.start.min(text.len()));
        for c in text[at..start].chars() {
            (line, column) = if c == '\n' { (line + 1, 1) } else { (line, column + 1) };
        }
        at = start;
        (place.line, place.column) = (line, column);
    }
}
