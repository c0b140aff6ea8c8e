//! `kiln explain`: a page about something Kiln says.
//!
//! Pages are rows: a [`Shelf`] has those of one kind of checks. Adding a kind: its row in [`SHELVES`].

use std::borrow::Cow;

use kiln_checks::family::{FAMILIES, Family};
use kiln_plan::lint;
use kiln_spec::diag::did_you_mean;

use crate::cli::Global;
use crate::error::CliError;
use crate::named;

const EXAMPLES: &str = "\
Examples:
  kiln explain                        what there are pages about
  kiln explain JSONArgsRecommended    what the rule finds, why, a bad and a good example
  kiln explain os.sysctl.protected    what a check of nodes looks at, and why";

/// Explain a rule or check: what it finds and why.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What to explain, as messages call it; without one, what there is
    #[arg(value_name = "ID")]
    id: Option<String>,
}

/// A page.
struct Page {
    /// What messages call it.
    id: &'static str,
    /// What it is about, in one line.
    line: String,
    /// Its text.
    text: Cow<'static, str>,
}

/// Pages about one kind of things.
struct Shelf {
    title: &'static str,
    pages: fn() -> Vec<Page>,
}

const SHELVES: &[Shelf] = &[
    Shelf { title: "Rules for Dockerfiles (kiln build --check)", pages: rules },
    Shelf { title: "Checks of nodes (kiln node verify)", pages: checks },
    Shelf { title: "Rules by which images are found in manifests", pages: images },
    Shelf { title: "Checks of the pod network (kiln doctor)", pages: network },
];

fn network() -> Vec<Page> {
    let page = |row: &'static kiln_doctor::Row| Page {
        id: row.id,
        line: row.line.to_owned(),
        text: kiln_doctor::checks::catalogue::page(row).into(),
    };
    kiln_doctor::checks::rows().map(page).collect()
}

fn checks() -> Vec<Page> {
    let page =
        |family: &'static Family| Page { id: family.id, line: family.line.to_owned(), text: family.page().into() };
    FAMILIES.iter().map(page).collect()
}

fn images() -> Vec<Page> {
    let page =
        |rule: &&'static kiln_manifests::Rule| Page { id: rule.id, line: rule.line.to_owned(), text: rule.page.into() };
    kiln_manifests::RULES.iter().map(page).collect()
}

fn rules() -> Vec<Page> {
    let line = |rule: &lint::Rule| match rule.experimental {
        true => format!("{} (experimental)", rule.line),
        false => rule.line.to_owned(),
    };
    lint::RULES.iter().map(|rule| Page { id: rule.id, line: line(rule), text: Cow::Borrowed(rule.page) }).collect()
}

/// Runs the verb.
pub fn run(args: &Args, _global: &Global) -> Result<(), CliError> {
    let Some(id) = &args.id else { return named::print(&contents()) };
    let pages: Vec<Page> = SHELVES.iter().flat_map(|shelf| (shelf.pages)()).collect();
    match pages.iter().find(|page| page.id.eq_ignore_ascii_case(id)) {
        Some(page) => named::print(&page.text),
        // A check of a family has the family's page.
        None if Family::of(id).is_some() => named::print(&Family::of(id).map(Family::page).unwrap_or_default()),
        None => {
            let error = CliError::usage(format!("there is no page about `{id}`"));
            Err(match did_you_mean(id, pages.iter().map(|page| page.id)) {
                Some(near) => error.with_hint(format!("did you mean `{near}`?")),
                None => error.with_hint("`kiln explain` lists what there is"),
            })
        }
    }
}

/// What there are pages about.
fn contents() -> String {
    let mut out = String::new();
    for shelf in SHELVES {
        let pages = (shelf.pages)();
        let width = pages.iter().map(|page| page.id.len()).max().unwrap_or(0);
        out += &format!("{}\n", shelf.title);
        for page in &pages {
            out += &format!("  {:width$}  {}\n", page.id, page.line);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_pages_have_one_name() {
        let pages: Vec<Page> = SHELVES.iter().flat_map(|shelf| (shelf.pages)()).collect();
        let ids: std::collections::BTreeSet<String> = pages.iter().map(|page| page.id.to_lowercase()).collect();
        assert_eq!(ids.len(), pages.len());
        assert!(pages.iter().all(|page| page.text.starts_with(&format!("# {}\n", page.id))));
    }
}
