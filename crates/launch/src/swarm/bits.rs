//! A set of small numbers: which blobs of an image a host has.

/// Numbers below a bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    /// None of so many.
    pub(super) fn new(bound: usize) -> Bits {
        Bits { words: vec![0; bound.div_ceil(64)] }
    }

    /// Whether a number is in it.
    pub(super) fn has(&self, number: usize) -> bool {
        self.words.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// Adds a number below the bound; others are left out.
    pub(super) fn add(&mut self, number: usize) {
        if let Some(word) = self.words.get_mut(number / 64) {
            *word |= 1 << (number % 64);
        }
    }

    /// Takes a number out.
    pub(super) fn remove(&mut self, number: usize) {
        if let Some(word) = self.words.get_mut(number / 64) {
            *word &= !(1 << (number % 64));
        }
    }

    /// Adds all of another.
    pub(super) fn join(&mut self, other: &Bits) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, more)| *word |= more);
    }

    /// Adds what two others have in common.
    pub(super) fn join_common(&mut self, one: &Bits, other: &Bits) {
        let words = self.words.iter_mut().zip(one.words.iter().zip(&other.words));
        words.for_each(|(word, (one, other))| *word |= one & other);
    }

    /// Whether some number of this is in neither of two others, and in the last.
    pub(super) fn offers(&self, has: &Bits, coming: &Bits) -> bool {
        let words = self.words.iter().zip(&has.words).zip(&coming.words);
        words.into_iter().any(|((own, has), coming)| own & !has & !coming != 0)
    }

    /// How many.
    pub(super) fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_a_set() {
        let (mut a, mut b) = (Bits::new(130), Bits::new(130));
        for number in [0, 64, 129] {
            a.add(number);
        }
        assert!(a.has(129) && !a.has(1) && a.count() == 3);
        b.add(0);
        b.add(64);
        let none = Bits::new(130);
        assert!(a.offers(&b, &none));
        b.add(129);
        assert!(!a.offers(&b, &none));
        b.remove(64);
        assert!(a.offers(&b, &none));
        let mut c = Bits::new(130);
        c.join_common(&a, &b);
        assert!(c.has(129) && c.has(0) && !c.has(64) && c.count() == 2);
        b.join(&a);
        assert_eq!(a, b);
    }
}
