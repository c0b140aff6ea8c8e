//! What a check found.

/// How bad it is when a check fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The machine will not do as a node.
    Error,
    /// It will, and something is probably not as it was meant.
    Warning,
}

impl Severity {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// It is as it must be.
    Pass,
    /// It is not.
    Fail,
    /// What had to be looked at could not be.
    Unknown,
    /// The question has no meaning here: only a running host has ports, for instance.
    Skip,
}

impl Verdict {
    /// Its name in documents.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Unknown => "could-not-check",
            Verdict::Skip => "skipped",
        }
    }
}

/// Where something was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// A path in the system, with its line where there is one: `/etc/sysctl.d/90-own.conf:3`.
    pub place: String,
    /// What is there.
    pub text: String,
}

/// What a check found, and why it says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The result.
    pub verdict: Verdict,
    /// Why, in one line, without a full stop.
    pub reason: String,
    /// What was seen where.
    pub evidence: Vec<Evidence>,
    /// What to do, where it is more exact than what the family says.
    pub hint: Option<String>,
}

/// The most places that a finding lists.
const MAX_EVIDENCE: usize = 20;
/// The longest text of one place, in characters.
const MAX_TEXT: usize = 200;

impl Finding {
    fn new(verdict: Verdict, reason: impl Into<String>) -> Finding {
        Finding { verdict, reason: reason.into(), evidence: Vec::new(), hint: None }
    }

    /// It is as it must be.
    pub fn pass(reason: impl Into<String>) -> Finding {
        Finding::new(Verdict::Pass, reason)
    }

    /// It is not.
    pub fn fail(reason: impl Into<String>) -> Finding {
        Finding::new(Verdict::Fail, reason)
    }

    /// It could not be found out.
    pub fn unknown(reason: impl Into<String>) -> Finding {
        Finding::new(Verdict::Unknown, reason)
    }

    /// It has no meaning here.
    pub fn skip(reason: impl Into<String>) -> Finding {
        Finding::new(Verdict::Skip, reason)
    }

    /// Pass or fail, with the same reason for both.
    pub fn when(passes: bool, reason: impl Into<String>) -> Finding {
        Finding::new(if passes { Verdict::Pass } else { Verdict::Fail }, reason)
    }

    /// The same with one more place. Beyond the first twenty they are only counted.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>, text: impl Into<String>) -> Finding {
        match self.evidence.len() {
            n if n < MAX_EVIDENCE => {
                let text: String = text.into();
                let short = match text.char_indices().nth(MAX_TEXT) {
                    Some((end, _)) => format!("{}…", &text[..end]),
                    None => text,
                };
                self.evidence.push(Evidence { place: place.into(), text: short });
            }
            n if n == MAX_EVIDENCE => {
                self.evidence.push(Evidence { place: "…".to_owned(), text: "and more".to_owned() });
            }
            _ => {}
        }
        self
    }

    /// The same with a hint of its own.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Finding {
        self.hint = Some(hint.into());
        self
    }
}
