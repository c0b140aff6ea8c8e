//! Rules of the tree that no compiler checks: `cargo xtask tidy`, and a test so that nobody forgets.

mod arrows;
mod links;
mod tree;
mod words;

use crate::error::Error;

/// Prints nothing if the tree keeps its rules.
pub(crate) fn run() -> Result<(), Error> {
    let broken = check()?;
    if broken.is_empty() { Ok(()) } else { Err(Error::Untidy(broken)) }
}

/// What is wrong, a line each.
fn check() -> Result<Vec<String>, Error> {
    let files = tree::text_files()?;
    Ok([
        arrows::check(&crate::cargo::packages()?),
        links::check(&files),
        links::named_in_heads(&files),
        words::check(&files),
        tree::heads(&files),
    ]
    .concat())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_keeps_its_rules() {
        assert_eq!(super::check().unwrap(), Vec::<String>::new());
    }
}
