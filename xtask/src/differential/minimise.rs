//! The smallest case that still differs in the same way: instructions, context and options are left out one at a time.

use super::build::Builders;
use super::case::Case;
use super::compare::{self, Difference};
use crate::error::Error;

/// Leaves out of `case` what is not needed for a difference of `class`.
pub(super) fn smallest(case: Case, class: &str, builders: &Builders<'_>) -> Result<(Case, Vec<Difference>), Error> {
    let differs = |case: &Case| -> Result<Option<Vec<Difference>>, Error> {
        let found = compare::differences(&builders.build(case)?);
        Ok(found.iter().any(|d| d.class == class).then(|| first(found, class)))
    };
    let found = differs(&case)?.unwrap_or_default();
    reduce(case, found, &differs)
}

/// Tries smaller cases until none differs any more.
fn reduce<T>(
    mut case: Case,
    mut found: T,
    differs: &dyn Fn(&Case) -> Result<Option<T>, Error>,
) -> Result<(Case, T), Error> {
    loop {
        let mut smaller = false;
        for part in 0..3 {
            let mut at = length(&case, part);
            while at > 0 {
                at -= 1;
                let less = without(&case, part, at);
                if let Some(still) = differs(&less)? {
                    (case, found, smaller) = (less, still, true);
                    at = at.min(length(&case, part));
                }
            }
        }
        if !smaller {
            return Ok((case, found));
        }
    }
}

fn length(case: &Case, part: usize) -> usize {
    [case.lines.len(), case.context.len(), case.options.len()][part]
}

/// A case without one instruction, one thing of the context (with what is below it), or one option.
fn without(case: &Case, part: usize, at: usize) -> Case {
    let mut case = case.clone();
    match part {
        0 => drop(case.lines.remove(at)),
        1 => {
            let gone = case.context.remove(at).path + "/";
            case.context.retain(|i| !i.path.starts_with(&gone));
        }
        _ => drop(case.options.remove(at)),
    }
    case
}

/// The difference that is looked for goes first.
fn first(mut found: Vec<Difference>, class: &str) -> Vec<Difference> {
    found.sort_by_key(|d| d.class != class);
    found
}

#[cfg(test)]
mod tests {
    use super::super::case::{Item, Kind};
    use super::*;

    #[test]
    fn what_is_not_needed_is_left_out() {
        let item = |path: &str| Item { path: path.to_owned(), mode: 0o755, owner: 0, kind: Kind::Dir };
        let lines = ["FROM x", "RUN a", "RUN b", "RUN c"].map(str::to_owned).into();
        let options = vec!["--label=a".to_owned()];
        let case = Case { seed: 1, context: vec![item("d"), item("d/e"), item("f")], lines, options };
        let needed = |case: &Case| {
            let text = case.dockerfile("");
            Ok((text.contains("FROM") && text.contains("RUN b") && case.context.iter().any(|i| i.path == "f"))
                .then_some(()))
        };
        let (small, ()) = reduce(case, (), &needed).unwrap();
        assert_eq!(small.lines, ["FROM x", "RUN b"]);
        assert_eq!(small.context.len(), 1);
        assert!(small.options.is_empty());
    }
}
