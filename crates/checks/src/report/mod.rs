//! Results, written down.
//!
//! [`text`] for people: the verdict first     [`log`] as ack-image-builder and kubeadm print theirs
//! [`document`] JSON, JUnit                    [`html`] one page that needs nothing else
//! [`file`] files, by their endings

pub mod document;
pub mod file;
pub mod html;
pub mod log;
pub mod text;

use crate::{Finding, Look, Profile, Rule, Severity, System, Verdict};

/// A check, and what it found.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The profile it is of.
    pub profile: String,
    /// The check.
    pub rule: Rule,
    /// What it found.
    pub finding: Finding,
    /// Whether it counts as a warning because the user said so.
    pub ignored: bool,
}

impl Outcome {
    /// How bad it is when it fails.
    pub fn severity(&self) -> Severity {
        if self.ignored { Severity::Warning } else { self.rule.severity }
    }

    /// What to do when it fails: what the finding says, else the check, else its family.
    pub fn hint(&self) -> Option<&str> {
        let family = || self.rule.family().map(|family| family.hint);
        self.finding.hint.as_deref().or(self.rule.hint.as_deref()).or_else(family)
    }

    fn is(&self, verdict: Verdict, severity: Severity) -> bool {
        self.finding.verdict == verdict && self.severity() == severity
    }
}

/// What all checks found.
#[derive(Debug, Clone)]
pub struct Report {
    /// What was looked at.
    pub target: String,
    /// Names of the profiles.
    pub profiles: Vec<String>,
    /// The checks in order.
    pub outcomes: Vec<Outcome>,
}

/// How many checks ended how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Counts {
    /// As they must be.
    pub passed: usize,
    /// Failed, and that is an error.
    pub errors: usize,
    /// Failed, and that is a warning.
    pub warnings: usize,
    /// Could not be checked.
    pub unknown: usize,
    /// Have no meaning for such a system.
    pub skipped: usize,
}

/// Asks every check of some profiles. Checks whose name or id is in `ignored`, or all of them if that has `all`, count
/// as warnings. Names are compared without regard to case, as kubeadm does.
pub fn verify(system: &dyn System, profiles: &[Profile], ignored: &[String]) -> Report {
    let look = Look::new(system);
    let mut outcomes = Vec::new();
    for profile in profiles {
        for rule in &profile.rules {
            let named = |name: &String| {
                name.eq_ignore_ascii_case("all")
                    || name.eq_ignore_ascii_case(&rule.id)
                    || rule.name.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(name))
            };
            let ignored = ignored.iter().any(named);
            let finding = rule.test.ask(&look);
            outcomes.push(Outcome { profile: profile.name.clone(), rule: rule.clone(), finding, ignored });
        }
    }
    let profiles = profiles.iter().map(|profile| profile.name.clone()).collect();
    Report { target: system.title(), profiles, outcomes }
}

impl Report {
    /// All in one: fail when an error failed; unknown when one could not be checked; else pass.
    pub fn verdict(&self) -> Verdict {
        let any = |verdict| self.outcomes.iter().any(|outcome| outcome.is(verdict, Severity::Error));
        match () {
            () if any(Verdict::Fail) => Verdict::Fail,
            () if any(Verdict::Unknown) => Verdict::Unknown,
            () => Verdict::Pass,
        }
    }

    /// Adds what was found of something else that belongs to the same. What has no meaning for one of them may have one for
    /// the other.
    pub fn add(&mut self, other: &Report) {
        let meant = |outcome: &Outcome, by: &Report| {
            let same = |o: &Outcome| o.profile == outcome.profile && o.rule.id == outcome.rule.id;
            outcome.finding.verdict != Verdict::Skip || !by.outcomes.iter().any(same)
        };
        self.outcomes.retain(|outcome| meant(outcome, other));
        for profile in &other.profiles {
            if !self.profiles.contains(profile) {
                self.profiles.push(profile.clone());
            }
        }
        let more: Vec<Outcome> = other.outcomes.iter().filter(|outcome| meant(outcome, self)).cloned().collect();
        self.outcomes.extend(more);
    }

    /// How many ended how.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for outcome in &self.outcomes {
            *match (outcome.finding.verdict, outcome.severity()) {
                (Verdict::Pass, _) => &mut counts.passed,
                (Verdict::Fail, Severity::Error) => &mut counts.errors,
                (Verdict::Fail, Severity::Warning) => &mut counts.warnings,
                (Verdict::Unknown, _) => &mut counts.unknown,
                (Verdict::Skip, _) => &mut counts.skipped,
            } += 1;
        }
        counts
    }

    /// The exit code: 0 pass, 1 fail, 2 when an error could not be checked.
    pub fn code(&self) -> u8 {
        match self.verdict() {
            Verdict::Fail => 1,
            Verdict::Unknown => 2,
            Verdict::Pass | Verdict::Skip => 0,
        }
    }
}

/// A text with nothing in it that a terminal would obey.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
