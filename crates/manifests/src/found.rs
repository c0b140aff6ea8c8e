//! An image and its place.

use std::fmt;

use kiln_oci::{Platform, Reference};
use kiln_spec::diag::Diagnostic;
use kiln_spec::source::Span;

use crate::rule::Rule;

/// What a file says about images.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// The images it names, in the order of their places.
    pub images: Vec<Found>,
    /// The images it names that are ignored, in the order they were met.
    pub ignored: Vec<Ignored>,
    /// What is wrong: errors are names that are no references, warnings what could not be read or known.
    pub diagnostics: Vec<Diagnostic>,
}

/// An image named at one place.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// As it is written, or as its parts make it.
    pub text: String,
    /// The same, normalised.
    pub reference: Reference,
    /// Where.
    pub place: Place,
    /// The object it is part of, if the file has objects.
    pub object: Option<Object>,
    /// Where in the object: `spec.template.spec.containers[0].image`; empty in lists.
    pub path: String,
    /// The rule that found it.
    pub rule: &'static Rule,
    /// Whether it is certainly an image.
    pub certainty: Certainty,
    /// The platforms it is wanted for, if the place says: that of a node selector, or of a list.
    pub platforms: Vec<Platform>,
}

/// An image named at one place and not wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Ignored {
    /// As it is written.
    pub text: String,
    /// Where.
    pub place: Place,
    /// Which entry of the list of ignored images has it, from 0.
    pub entry: usize,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// What the file is called.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
    /// Its column in characters, from 1.
    pub column: usize,
    /// Its bytes.
    pub span: Span,
}

/// An object of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Object {
    /// `apps/v1`
    pub api_version: String,
    /// `Deployment`
    pub kind: String,
    /// Its namespace, if it says.
    pub namespace: Option<String>,
    /// Its name; empty if it has none.
    pub name: String,
}

/// Whether something is an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Certainty {
    /// It looks like one: an argument, a variable, an annotation.
    Possible,
    /// It is one.
    Named,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// `Deployment kube-system/coredns`
impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let namespace = self.namespace.as_ref().map(|n| format!("{n}/")).unwrap_or_default();
        write!(f, "{} {namespace}{}", self.kind, self.name)?;
        if self.name.is_empty() { f.write_str("(without a name)") } else { Ok(()) }
    }
}

/// `a.yaml:3:7: Deployment web spec.template.spec.containers[0].image`
impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if let Some(object) = &self.object {
            write!(f, "{object} ")?;
        }
        f.write_str(if self.path.is_empty() { self.rule.line } else { &self.path })
    }
}
