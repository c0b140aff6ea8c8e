//! Guessing what was meant.

/// Longer words are not typing mistakes, and comparing them would take long.
const LONGEST: usize = 64;

/// The candidate closest to `word`, if one is close enough to be what was meant. Case does not count.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let word: Vec<char> = word.to_lowercase().chars().collect();
    let near = |candidate: &&'a str| candidate.len() <= LONGEST && candidate.len().abs_diff(word.len()) <= LONGEST / 4;
    candidates
        .into_iter()
        .filter(near)
        .map(|candidate| (distance(&word, &candidate.to_lowercase().chars().collect::<Vec<_>>()), candidate))
        .filter(|&(distance, candidate)| distance <= (word.len().max(candidate.len()) / 3).max(1))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// How many characters to insert, delete, replace or swap with their neighbour.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &from) in a.iter().enumerate() {
        let mut row = vec![i + 1; b.len() + 1];
        for (j, &to) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(from != to);
            row[j + 1] = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && from == b[j - 1] && a[i - 1] == to {
                row[j + 1] = row[j + 1].min(before_last[j - 1] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::did_you_mean;

    #[test]
    fn guesses_near_words_only() {
        let words = ["FROM", "RUN", "COPY", "ENTRYPOINT", "EXPOSE"];
        assert_eq!(did_you_mean("FORM", words), Some("FROM"));
        assert_eq!(did_you_mean("rnu", words), Some("RUN"));
        assert_eq!(did_you_mean("ENTRPOINT", words), Some("ENTRYPOINT"));
        assert_eq!(did_you_mean("BUILD", words), None);
        assert_eq!(did_you_mean("", words), None);
        assert_eq!(did_you_mean(&"R".repeat(1 << 20), words), None);
    }
}
