//! What goes wrong.

/// When a connection is cut, or a hook called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Before the call has any effect.
    Before,
    /// After it had, and before it is answered.
    After,
}

/// A connection that is cut.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// At which call.
    pub at: usize,
    /// Whether it still has its effect.
    pub when: When,
    /// Whether nothing is answered from then on.
    pub lasting: bool,
}

/// An operation that fails.
#[derive(Debug, Clone)]
pub struct OperationError {
    /// Which: `instances.insert`.
    pub action: String,
    /// Its code: `QUOTA_EXCEEDED`.
    pub code: String,
    /// Its words.
    pub message: String,
    /// How often.
    pub times: u32,
}

/// What goes wrong, and how slow it is.
#[derive(Debug, Clone)]
pub struct Faults {
    /// How often an operation is asked for before it is done.
    pub pending: u32,
    /// Operations of this kind (`insert`, `delete`) are never done.
    pub stuck: Option<&'static str>,
    /// How often an instance is asked for before it runs.
    pub staging: u32,
    /// Calls that are throttled, by their numbers.
    pub throttled: Vec<usize>,
    /// An operation that fails.
    pub operation: Option<OperationError>,
    /// CPUs that the region has left.
    pub cpus: u32,
    /// How often a deletion is refused because something else still holds it.
    pub in_use: u32,
    /// How often metadata is changed by somebody else at the same moment.
    pub stale: u32,
    /// How often a key's import meets another one.
    pub busy: u32,
    /// Whether guest attributes are forbidden.
    pub closed: bool,
    /// What comes of startup scripts.
    pub script: &'static str,
    /// Actions that the account may not do.
    pub forbidden: Vec<String>,
    /// An action that is refused, and how often.
    pub refused: Option<(&'static str, u32)>,
    /// A connection that is cut.
    pub cut: Option<Cut>,
}

impl Default for Faults {
    fn default() -> Self {
        Faults {
            pending: 1,
            stuck: None,
            staging: 0,
            throttled: Vec::new(),
            operation: None,
            cpus: 24,
            in_use: 0,
            stale: 0,
            busy: 0,
            closed: false,
            script: "done",
            forbidden: Vec::new(),
            refused: None,
            cut: None,
        }
    }
}
