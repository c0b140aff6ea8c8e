//! After a build: what ran, what it made, and where the time went.

use std::fmt::Write as _;
use std::time::Duration;

use kiln_engine::event::Done;
use kiln_engine::schedule::{Reports, StepReport};

use super::{human, text};

/// Steps listed with their times.
const LISTED: usize = 5;
/// Steps that took less are not worth a line.
const WORTH: Duration = Duration::from_millis(100);
/// Columns of a title.
const TITLE: usize = 80;

/// A few lines, each with its end, on a build that took `total` time:
///
/// ```text
/// 4 steps in 12.3s: 2 ran, 2 cached; 4 layers, 128MB
///    8.1s   12.6MB  [build 3/5] RUN make
/// ```
///
/// The first counts steps that make layers; the others are the slowest of those that ran, slowest first.
pub fn summary(reports: &Reports, total: Duration) -> String {
    let steps: Vec<&StepReport> = reports.values().filter(|r| r.layer.is_some()).collect();
    let mut out = format!("{} in {}", human::count(steps.len(), "step"), human::duration(total));
    let number = |done: Done| steps.iter().filter(|r| r.done == done).count();
    let parts = [(Done::Ran, "ran"), (Done::Cached, "cached"), (Done::Shared, "shared")];
    let parts = parts.map(|(done, word)| (number(done), word)).into_iter().filter(|(n, _)| *n > 0);
    let parts: Vec<String> = parts.map(|(n, word)| format!("{n} {word}")).collect();
    if !parts.is_empty() {
        let size = steps.iter().filter_map(|r| r.layer.as_ref()).map(|l| l.blob.size).fold(0, u64::saturating_add);
        let layers = human::count(steps.len(), "layer");
        let _ = write!(out, ": {}; {layers}, {}", parts.join(", "), human::size(size));
    }
    out.push('\n');
    let mut slow: Vec<&&StepReport> = steps.iter().filter(|r| r.done == Done::Ran && r.took >= WORTH).collect();
    // Equal times keep the order of the plan.
    slow.sort_by_key(|r| std::cmp::Reverse(r.took));
    for report in slow.into_iter().take(LISTED) {
        let size = report.layer.as_ref().map(|l| human::size(l.blob.size)).unwrap_or_default();
        let title = text::fit(&text::title(&report.title), TITLE);
        let _ = writeln!(out, "{:>7} {size:>8}  {title}", human::duration(report.took));
    }
    out
}
