//! What goes wrong, and when.

/// Where within a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before it does anything.
    Before,
    /// After it did what it does, before it is answered.
    After,
}

/// A call whose connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Which call, from 1 on.
    pub call: usize,
    /// When.
    pub when: Moment,
}

/// A call that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refuse {
    /// The call.
    pub action: String,
    /// HTTP status.
    pub status: u16,
    /// The code.
    pub code: String,
    /// How often.
    pub times: usize,
}

impl Refuse {
    /// So many calls of this name, with this code.
    pub fn new(action: &str, status: u16, code: &str, times: usize) -> Refuse {
        Refuse { action: action.to_owned(), status, code: code.to_owned(), times }
    }
}

/// What goes wrong.
#[derive(Debug, Clone)]
pub struct Faults {
    /// For how many questions what is made is not ready yet.
    pub pending: u32,
    /// Calls, from 1 on, that are refused with `Throttling.User`.
    pub throttled: Vec<usize>,
    /// Machines are refused: `QuotaExceed.ElasticQuota`.
    pub quota: bool,
    /// Processors that the account uses, of 100.
    pub processors: u64,
    /// How often each security group, vSwitch and VPC is still in use when it is to be deleted.
    pub in_use: u32,
    /// How often each vpc, vSwitch or image stays in its first state for ever: never, unless this names its kind.
    pub stuck: Option<&'static str>,
    /// Images become `CreateFailed`.
    pub images_fail: bool,
    /// Calls that are refused.
    pub refuse: Vec<Refuse>,
    /// The connection of a call breaks.
    pub cut: Option<Cut>,
    /// A call is never answered, and its connection stays open: time to kill who waits for it.
    pub hold: Option<Cut>,
}

impl Default for Faults {
    fn default() -> Self {
        Faults {
            pending: 1,
            throttled: Vec::new(),
            quota: false,
            processors: 0,
            in_use: 0,
            stuck: None,
            images_fail: false,
            refuse: Vec::new(),
            cut: None,
            hold: None,
        }
    }
}
