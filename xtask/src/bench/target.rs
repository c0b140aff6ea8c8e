//! What Kiln is meant to reach: its share of the wall time of the best peer of the same run.

use super::Mode;

/// Peak memory may be this high, whatever is built.
pub(super) const MEMORY: u64 = 200 << 20;
/// Building again what did not change may take as many times as long as one look at every file of the context.
pub(super) const WALKS: f64 = 1.5;

/// Seconds that a disk of 500 MB of files may take to be written.
pub(super) const DISK: f64 = 5.0;

const SHARES: [(&str, Mode, f64); 17] = [
    ("w1", Mode::Cold, 0.5),
    ("w1", Mode::NoCache, 0.4),
    ("w1", Mode::Warm, 0.4),
    ("w2", Mode::Cold, 0.3),
    ("w3", Mode::Cold, 0.3),
    ("w4", Mode::Cold, 0.6),
    ("w5", Mode::Cold, 0.8),
    ("w6", Mode::Warm, 0.25),
    ("w6", Mode::Changed, 0.4),
    ("w7", Mode::Cold, 0.5),
    ("w8", Mode::Cold, 0.8),
    ("w9", Mode::Cold, 0.4),
    ("w9", Mode::NoCache, 0.4),
    ("w9", Mode::Warm, 0.5),
    ("w10", Mode::Cold, 0.3),
    ("n1", Mode::Cold, 0.1),
    ("n1", Mode::Changed, 0.02),
];

/// The share of a row, if it has a target.
pub(super) fn share(label: &str, mode: Mode) -> Option<f64> {
    SHARES.iter().find(|(l, m, _)| *l == label && *m == mode).map(|(_, _, share)| *share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_has_a_target() {
        for n in 1..=10 {
            assert!(SHARES.iter().any(|(label, _, _)| *label == format!("w{n}")), "w{n}");
        }
        assert_eq!((share("w6", Mode::Changed), share("w7", Mode::Warm)), (Some(0.4), None));
    }
}
