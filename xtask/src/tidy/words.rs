//! What must not be in the tree: marks that were forgotten.

use super::tree::TextFile;

/// Split, so that this file does not hold them.
const FORBIDDEN: [[&str; 2]; 4] = [["FIX", "ME"], ["XX", "X:"], ["<<<<<<", "< "], [">>>>>>", "> "]];

/// Lines that hold such words.
pub(super) fn check(files: &[TextFile]) -> Vec<String> {
    let words: Vec<String> = FORBIDDEN.iter().map(|parts| parts.concat()).collect();
    let mut found = Vec::new();
    for file in files.iter().filter(|f| f.path != "Cargo.lock") {
        for (number, line) in file.text.lines().enumerate() {
            let hits = words.iter().filter(|w| line.contains(w.as_str()));
            found.extend(hits.map(|w| format!("{}:{}: `{w}` does not belong here", file.path, number + 1)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_word_is_found_with_its_line() {
        let file = TextFile { path: "a".into(), text: format!("fine\n// {} later\n", ["FIX", "ME"].concat()) };
        assert_eq!(check(&[file]), [format!("a:2: `{}` does not belong here", ["FIX", "ME"].concat())]);
    }
}
