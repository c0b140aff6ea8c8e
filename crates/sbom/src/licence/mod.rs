//! Licences: what packages say, and what SPDX calls it.
//!
//! Every ecosystem writes licences in its own way. [`Licence`] keeps what was written, and has an SPDX expression where
//! that is certain: only listed licences, in the specification's grammar. What is not certain stays a name.
//!
//! Adding a spelling: its row in [`names`].

pub mod names;

/// The longest text that is tried as an expression.
const MAX_EXPRESSION: usize = 4 << 10;

/// A statement of a package about its licence.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Licence {
    /// As the package writes it.
    pub written: String,
    /// The same as an SPDX expression of listed licences.
    pub expression: Option<String>,
}

impl Licence {
    /// What is meant to be an SPDX expression, or nearly: lower-case operators, `/` for `OR`, old spellings.
    pub fn spdx(written: &str) -> Licence {
        let written = written.trim();
        let short = written.len() <= MAX_EXPRESSION;
        let expression = short.then(|| translated(&written.replace('/', " OR "), &[])).and_then(|e| expression(&e));
        Licence { written: written.to_owned(), expression }
    }

    /// What Debian's copyright files have in `License:`: short names, joined by `and`, `or`, commas.
    pub fn debian(written: &str) -> Licence {
        Licence::translated(written, &names::DEBIAN)
    }

    /// What RPMs have: SPDX since 2023, and Fedora's short names before.
    pub fn rpm(written: &str) -> Licence {
        let modern = Licence::spdx(written);
        if modern.expression.is_some() {
            return modern;
        }
        let words = names::FEDORA_PHRASES.iter().fold(written.to_owned(), |text, (from, to)| text.replace(from, to));
        Licence { written: modern.written, ..Licence::translated(&words, &names::FEDORA) }
    }

    /// Whether the expression needs parentheses inside another one.
    pub fn is_compound(&self) -> bool {
        self.expression.as_deref().is_some_and(|text| text.contains(' '))
    }

    fn translated(written: &str, names: &[(&str, &'static str)]) -> Licence {
        let written = written.trim();
        let short = written.len() <= MAX_EXPRESSION;
        let expression = short.then(|| grouped(&translated(written, names))).flatten().and_then(|e| expression(&e));
        Licence { written: written.to_owned(), expression }
    }
}

/// Every word by its SPDX name, where it has one.
fn translated(text: &str, names: &[(&str, &'static str)]) -> String {
    let spaced = text.replace('(', " ( ").replace(')', " ) ").replace(',', " , ");
    let words: Vec<_> = spaced.split_whitespace().map(|word| names::translate(word, names)).collect();
    words.join(" ").replace("( ", "(").replace(" )", ")")
}

/// Commas as parentheses: in `A or B, and C` what stands before the comma belongs together.
fn grouped(text: &str) -> Option<String> {
    let mut segments = text.split(',').map(str::trim);
    let mut out = segments.next()?.to_owned();
    for segment in segments {
        let (operator, rest) = segment.split_once(' ')?;
        if !operator.eq_ignore_ascii_case("and") && !operator.eq_ignore_ascii_case("or") {
            return None;
        }
        out = format!("{} {operator} {}", parenthesised(&out), parenthesised(rest));
    }
    Some(out)
}

fn parenthesised(text: &str) -> String {
    if text.contains(' ') { format!("({text})") } else { text.to_owned() }
}

/// `text`, if it is a strict SPDX expression.
fn expression(text: &str) -> Option<String> {
    // A reference to a text would have to come with it.
    if text.is_empty() || text.contains("Ref-") {
        return None;
    }
    let mode = spdx::ParseMode { allow_deprecated: true, ..spdx::ParseMode::STRICT };
    spdx::Expression::parse_mode(text, mode).is_ok().then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(licence: Licence) -> String {
        licence.expression.unwrap_or_else(|| format!("? {}", licence.written))
    }

    #[test]
    fn only_what_is_certain_becomes_an_expression() {
        for (written, want) in [
            ("MIT", "MIT"),
            ("mit or apache-2.0", "MIT OR Apache-2.0"),
            ("MIT/Apache-2.0", "MIT OR Apache-2.0"),
            ("GPL-2.0-or-later WITH Classpath-exception-2.0", "GPL-2.0-or-later WITH Classpath-exception-2.0"),
            ("GPL-2.0+", "GPL-2.0-or-later"),
            ("SEE LICENSE IN LICENSE.md", "? SEE LICENSE IN LICENSE.md"),
            ("LicenseRef-Mine", "? LicenseRef-Mine"),
            ("MIT AND", "? MIT AND"),
            ("(MIT", "? (MIT"),
            ("", "? "),
        ] {
            assert_eq!(of(Licence::spdx(written)), want);
        }
    }

    #[test]
    fn distributions_have_their_own_words() {
        for (written, want) in [
            ("GPL-2+", "GPL-2.0-or-later"),
            ("GPL-3", "GPL-3.0-only"),
            ("Expat", "MIT"),
            ("GPL-2+ or Artistic, and BSD-3-clause", "(GPL-2.0-or-later OR Artistic-1.0) AND BSD-3-Clause"),
            ("public-domain", "? public-domain"),
            ("MIT, Expat", "? MIT, Expat"),
            ("LGPL-2.1+ and LGPL-3", "LGPL-2.1-or-later AND LGPL-3.0-only"),
        ] {
            assert_eq!(of(Licence::debian(written)), want);
        }
        for (written, want) in [
            ("GPLv3+ and (GPLv2 or BSD)", "? GPLv3+ and (GPLv2 or BSD)"),
            ("GPLv3+ and (GPLv2 or MIT)", "GPL-3.0-or-later AND (GPL-2.0-only OR MIT)"),
            ("LGPLv2+", "LGPL-2.1-or-later"),
            ("ASL 2.0", "Apache-2.0"),
            ("LGPL-2.1-or-later AND MIT", "LGPL-2.1-or-later AND MIT"),
        ] {
            assert_eq!(of(Licence::rpm(written)), want);
        }
    }

    #[test]
    fn a_hostile_expression_is_a_name() {
        assert_eq!(Licence::spdx(&"(".repeat(100_000)).expression, None);
        assert_eq!(Licence::spdx(&"MIT OR ".repeat(100_000)).expression, None);
        assert_eq!(Licence::debian(&"MIT,".repeat(100_000)).expression, None);
    }
}
