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

#[cfg(test)]
mod tests {
    use kiln_engine::rootfs::Layer;
    use kiln_oci::Digest;
    use kiln_plan::StepId;

    use super::*;

    fn report(step: usize, title: &str, done: Done, millis: u64, size: Option<u64>) -> (StepId, StepReport) {
        let layer = size.map(|size| {
            let digest = Digest::of(title.as_bytes());
            let blob: kiln_oci::Descriptor = serde_json::from_value(serde_json::json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest.to_string(), "size": size,
            }))
            .unwrap();
            Layer { diff_id: digest, blob }
        });
        let (step, took) = (StepId(step), Duration::from_millis(millis));
        (step, StepReport { step, title: title.to_owned(), done, took, layer, created: None })
    }

    #[test]
    fn the_slowest_steps_are_listed() {
        let reports = Reports::from([
            report(0, "FROM alpine", Done::Cached, 0, None),
            report(1, "[a 1/3] COPY . /src", Done::Cached, 900, Some(1_000_000)),
            report(2, "[a 2/3] RUN make\ninstall", Done::Ran, 62_000, Some(12_580_000)),
            report(3, "[a 3/3] RUN \x1b[31mlong", Done::Ran, 1_200, Some(999)),
            report(4, "[b 1/1] RUN true", Done::Ran, 20, Some(32)),
            report(5, "[b 1/1] RUN true", Done::Shared, 0, Some(32)),
        ]);
        let want = "\
5 steps in 1m04s: 3 ran, 1 cached, 1 shared; 5 layers, 13.6MB
  1m02s   12.6MB  [a 2/3] RUN make
   1.2s     999B  [a 3/3] RUN long
";
        assert_eq!(summary(&reports, Duration::from_millis(64_000)), want);
    }

    #[test]
    fn a_build_without_steps_says_so() {
        assert_eq!(summary(&Reports::new(), Duration::from_millis(12)), "0 steps in 12ms\n");
    }
}
