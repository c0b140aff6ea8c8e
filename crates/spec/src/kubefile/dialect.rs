//! Which dialect a Kubefile is in: the words it uses tell, and where they do not, sealer's first one is meant.

use std::fmt;
use std::str::FromStr;

use super::read::{Instruction, Read};
use crate::ast::{Op, Pair};
use crate::diag::{Diagnostic, did_you_mean};
use crate::source::{Source, Span};

/// A dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// sealer up to 0.8.
    SealerV1,
    /// sealer from 0.9.
    SealerV2,
    /// sealos.
    Sealos,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Dialect; 3] = [Dialect::SealerV1, Dialect::SealerV2, Dialect::Sealos];

    /// `sealer-v1`, `sealer-v2` or `sealos`.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::SealerV1 => "sealer-v1",
            Dialect::SealerV2 => "sealer-v2",
            Dialect::Sealos => "sealos",
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Dialect {
    type Err = String;

    fn from_str(text: &str) -> Result<Dialect, String> {
        Dialect::ALL.into_iter().find(|dialect| dialect.name() == text).ok_or_else(|| {
            let names = Dialect::ALL.map(Dialect::name);
            let meant = did_you_mean(text, names).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            format!("there is no dialect `{text}`: expected {}{meant}", names.join(", "))
        })
    }
}

/// Why a file is read in a dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The caller said so.
    Given,
    /// `# kiln:dialect=` says so.
    Directive,
    /// It uses something that only this dialect has: what and where.
    Uses(String, Span),
    /// Nothing speaks for another one.
    Default,
}

/// Labels that only sealos' images have, by their beginning.
const SEALOS: &str = "sealos.io.";
/// Labels that only images of sealer's newer versions have, by their beginning.
const SEALER: &str = "cluster.alpha.sealer.io/";

pub(super) fn choose(
    source: &Source,
    read: &Read,
    given: Option<Dialect>,
    found: &mut Vec<Diagnostic>,
) -> (Dialect, Reason) {
    let said = directive(source, found);
    if let Some(given) = given {
        return (given, Reason::Given);
    }
    if let Some(said) = said {
        return (said, Reason::Directive);
    }
    guess(read)
}

/// `# kiln:dialect=` in a comment before the first instruction.
fn directive(source: &Source, found: &mut Vec<Diagnostic>) -> Option<Dialect> {
    let mut at = 0;
    for line in source.text.split_inclusive('\n') {
        let start = at;
        at += line.len();
        let text = line.trim_start_matches('\u{feff}').trim();
        let Some(comment) = text.strip_prefix('#') else {
            if text.is_empty() {
                continue;
            }
            return None;
        };
        let Some(name) = comment.trim().strip_prefix("kiln:dialect=") else { continue };
        let name = name.trim();
        match name.parse() {
            Ok(dialect) => return Some(dialect),
            Err(why) => {
                let from = line.find(name).map_or(start, |offset| start + offset);
                let span = Span::new(from, from + name.len());
                found.push(Diagnostic::error("UnknownDialect", span, why));
                return None;
            }
        }
    }
    None
}

/// What a file looks like.
fn guess(read: &Read) -> (Dialect, Reason) {
    let new = read.extras.iter().find(|extra| !matches!(extra.instruction, Instruction::Values(_)));
    if let Some(extra) = new {
        return (Dialect::SealerV2, Reason::Uses(extra.keyword.text.to_ascii_uppercase(), extra.keyword.span));
    }
    let mut other = None;
    for instruction in read.dockerfile.stages.iter().flat_map(|stage| &stage.instructions) {
        let span = instruction.keyword.span;
        let uses = |what: &str| Reason::Uses(what.to_owned(), span);
        match &instruction.op {
            Op::Label(pairs) if has(pairs, SEALOS) => return (Dialect::Sealos, uses("a label `sealos.io.…`")),
            Op::Label(pairs) if has(pairs, SEALER) => {
                return (Dialect::SealerV2, uses("a label `cluster.alpha.sealer.io/…`"));
            }
            Op::Copy(_) | Op::Run(_) | Op::Cmd(_) | Op::Arg(_) => {}
            Op::Label(_) | Op::Env(_) | Op::Maintainer(_) | Op::Add(_) => {
                let keyword = instruction.keyword.text.to_ascii_uppercase();
                other = other.or(Some((Dialect::SealerV2, uses(&keyword))));
            }
            _ => {
                let keyword = instruction.keyword.text.to_ascii_uppercase();
                return (Dialect::Sealos, uses(&keyword));
            }
        }
    }
    other.unwrap_or((Dialect::SealerV1, Reason::Default))
}

fn has(pairs: &[Pair], prefix: &str) -> bool {
    pairs.iter().any(|pair| pair.key.text.trim_matches(['"', '\'']).starts_with(prefix))
}
