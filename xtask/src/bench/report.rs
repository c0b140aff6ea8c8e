//! The tables, and the same as JSON.

use serde_json::json;

use super::Mode;
use super::machine::Machine;
use super::measure::Cost;
use super::target;
use super::told::Told;

/// One build.
#[derive(Debug, Clone, serde::Serialize)]
pub(super) struct Run {
    /// What it cost.
    #[serde(flatten)]
    pub(super) cost: Cost,
    /// What Kiln told; nothing of others.
    pub(super) told: Told,
}

/// The runs of one tool on one workload in one mode.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) workload: &'static str,
    pub(super) mode: Mode,
    pub(super) tool: &'static str,
    pub(super) runs: Vec<Run>,
    /// Seconds after which it was stopped, because that was too long to wait for.
    pub(super) stopped: Option<u64>,
    /// Why there are no runs, or fewer.
    pub(super) failed: Option<String>,
}

/// All that was measured.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) machine: Machine,
    /// How it was asked for.
    pub(super) command: String,
    /// Repetitions.
    pub(super) repetitions: u32,
    /// Each tool with its version, or why it took no part.
    pub(super) tools: Vec<(&'static str, String)>,
    pub(super) rows: Vec<Row>,
    /// Seconds of one look at every file of w2's context.
    pub(super) walk: Option<f64>,
}

impl Row {
    /// Whether Kiln ran it, on any rung.
    fn is_ours(&self) -> bool {
        self.tool.starts_with("kiln")
    }

    /// Medians, each by itself; `None` if it never ran to its end.
    pub(super) fn median(&self) -> Option<Cost> {
        let of = |value: fn(&Cost) -> f64| middle(self.runs.iter().map(|r| value(&r.cost)).collect());
        Some(Cost {
            wall: of(|c| c.wall)?,
            cpu: of(|c| c.cpu)?,
            memory: of(|c| c.memory as f64)? as u64,
            written: of(|c| c.written as f64)? as u64,
        })
    }
}

fn middle(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

impl Report {
    /// The rows of one workload in one mode.
    fn of(&self, row: &Row) -> impl Iterator<Item = &Row> {
        let (workload, mode) = (row.workload, row.mode);
        self.rows.iter().filter(move |r| r.workload == workload && r.mode == mode)
    }

    fn ours(&self) -> impl Iterator<Item = (&Row, Cost)> {
        self.rows.iter().filter(|r| r.tool == "kiln").filter_map(|r| Some((r, r.median()?)))
    }

    /// Everything, as Markdown.
    pub(super) fn markdown(&self) -> String {
        [self.head(), self.shares(), self.rules(), self.all(), self.phases()].concat()
    }

    fn head(&self) -> String {
        let machine = &self.machine;
        let mut text = format!(
            "Taken on {} with `{}`: medians of {}, load {} when it began.\n\n| | |\n|---|---|\n",
            machine.date, self.command, self.repetitions, machine.load
        );
        text += &format!("| processors | {} |\n| machine | {} |\n", machine.cpu, machine.rest);
        text += &format!("| system | {} |\n", machine.kernel);
        for (tool, version) in &self.tools {
            text += &format!("| {tool} | {} |\n", cell(version));
        }
        text
    }

    /// Kiln beside the fastest of its peers.
    fn shares(&self) -> String {
        let mut text = "\n### Kiln beside the best peer\n\n| | mode | kiln s | best peer s | | ratio | target | met | CPU ratio | kiln peak MB |\n\
                        |---|---|---|---|---|---|---|---|---|---|\n"
            .to_owned();
        for (row, cost) in self.ours() {
            let peers = self.of(row).filter(|r| !r.is_ours()).filter_map(|r| Some((r.tool, r.median()?)));
            let best = peers.min_by(|(_, a), (_, b)| a.wall.total_cmp(&b.wall));
            let target = target::share(row.workload, row.mode);
            let (wall, tool, ratio, cpu) = match &best {
                Some((tool, best)) => {
                    (seconds(best.wall), *tool, Some(cost.wall / best.wall), Some(cost.cpu / best.cpu))
                }
                None => (String::new(), "", None, None),
            };
            let met = ratio.zip(target).map_or("", |(ratio, target)| if ratio <= target { "yes" } else { "**no**" });
            text += &format!(
                "| {} | {} | {} | {wall} | {tool} | {} | {} | {met} | {} | {} |\n",
                row.workload,
                row.mode.name(),
                seconds(cost.wall),
                ratio.map_or(String::new(), |r| format!("{r:.2}")),
                target.map_or(String::new(), |t| format!("≤ {t}")),
                cpu.filter(|r| r.is_finite()).map_or(String::new(), |r| format!("{r:.2}")),
                cost.memory / 1_000_000,
            );
        }
        text
    }

    /// The targets that are not shares of a peer.
    fn rules(&self) -> String {
        let mut text = String::from("\n");
        if let Some((row, cost)) = self.ours().max_by_key(|(_, cost)| cost.memory) {
            let met = if cost.memory < target::MEMORY { "met" } else { "**not met**" };
            let (label, mode) = (row.workload, row.mode.name());
            text += &format!(
                "- Peak memory under 200 MiB: {} MB at most, {label} {mode}: {met}.\n",
                cost.memory / 1_000_000
            );
        }
        let unchanged = self.ours().find(|(row, _)| (row.workload, row.mode) == ("w6", Mode::Warm));
        if let (Some((_, cost)), Some(walk)) = (unchanged, self.walk) {
            let times = cost.wall / walk;
            let met = if times < target::WALKS { "met" } else { "**not met**" };
            let walk = seconds(walk);
            text += &format!(
                "- w6 warm under {} × one look at each file of the context ({walk} s): {times:.1} ×: {met}.\n",
                target::WALKS
            );
        }
        if let Some((_, cost)) = self.ours().find(|(row, _)| row.workload == "n2") {
            let met = if cost.wall < target::DISK { "met" } else { "**not met**" };
            text += &format!("- A disk of 500 MB in under {} s: {} s: {met}.\n", target::DISK, seconds(cost.wall));
        }
        let step = |label| {
            let rows = self.rows.iter().filter(|r| r.tool == "kiln" && r.workload == label && r.mode == Mode::NoCache);
            middle(rows.flat_map(|r| &r.runs).flat_map(|r| r.told.runs.iter().copied()).collect())
        };
        if let (Some(small), Some(large)) = (step("w1"), step("w10")) {
            text += &format!(
                "- The cost of a step does not grow with the tree: the median `RUN` without cache takes {:.0} ms in w1, {:.0} ms in w10.\n",
                small * 1e3,
                large * 1e3
            );
        }
        text
    }

    fn all(&self) -> String {
        let mut text = "\n### All builders\n\n| | mode | tool | wall s | CPU s | peak MB | written MB | kiln : tool |\n|---|---|---|---|---|---|---|---|\n".to_owned();
        for row in &self.rows {
            let start = format!("| {} | {} | {} |", row.workload, row.mode.name(), row.tool);
            if let Some(why) = &row.failed {
                text += &format!("{start} {} ||||||\n", cell(why));
            }
            let ours = self.of(row).find(|r| r.tool == "kiln" && r.tool != row.tool).and_then(Row::median);
            if let Some(seconds) = row.stopped {
                let below = ours.map_or(String::new(), |ours| format!("< {:.2}", ours.wall / seconds as f64));
                text += &format!("{start} stopped after {seconds} |  |  |  | {below} |\n");
            }
            let Some(cost) = row.median() else { continue };
            text += &format!(
                "{start} {} | {:.2} | {} | {} | {} |\n",
                seconds(cost.wall),
                cost.cpu,
                cost.memory / 1_000_000,
                cost.written / 1_000_000,
                ours.map_or(String::new(), |ours| format!("{:.2}", ours.wall / cost.wall)),
            );
        }
        text
    }

    /// What Kiln did meanwhile.
    fn phases(&self) -> String {
        let mut kinds: Vec<&str> = Vec::new();
        for run in self.ours().flat_map(|(row, _)| &row.runs) {
            kinds.extend(run.told.busy.keys().map(|k| &**k));
        }
        let place = |kind: &str| ORDER.iter().position(|k| *k == kind).unwrap_or(ORDER.len());
        kinds.sort_unstable_by_key(|kind| (place(kind), *kind));
        kinds.dedup();
        if kinds.is_empty() {
            return String::new();
        }
        let mut text = format!(
            "\n### Where Kiln's time went\n\nMilliseconds of work by kind; kinds overlap.\n\n| | mode | wall | {} |\n",
            kinds.join(" | ")
        );
        text += &format!("|---|---|---|{}\n", "---|".repeat(kinds.len()));
        for (row, cost) in self.ours() {
            text += &format!("| {} | {} | {:.0} |", row.workload, row.mode.name(), cost.wall * 1e3);
            for kind in &kinds {
                let spent = middle(row.runs.iter().filter_map(|r| r.told.busy.get(*kind).copied()).collect());
                text += &spent.map_or("  |".to_owned(), |s| format!(" {:.0} |", s * 1e3));
            }
            text += "\n";
        }
        text
    }

    /// One JSON document with every run.
    pub(super) fn json(&self) -> String {
        let rows = self.rows.iter().map(|r| {
            json!({"workload": r.workload, "mode": r.mode, "tool": r.tool, "median": r.median(), "runs": r.runs, "stopped": r.stopped, "failed": r.failed})
        });
        let rows: Vec<_> = rows.collect();
        let unit = json!({"wall": "s", "cpu": "s", "memory": "B", "written": "B", "busy": "s", "walk": "s"});
        let tools: serde_json::Map<_, _> = self.tools.iter().map(|(t, v)| ((*t).to_owned(), json!(v))).collect();
        json!({"version": 2, "command": self.command, "machine": self.machine, "tools": tools, "unit": unit,
            "walk": self.walk, "rows": rows})
        .to_string()
    }
}

/// Kinds of work in the order of a build; what is not listed comes last.
const ORDER: [&str; 11] =
    ["resolve", "context", "plan", "lookup", "fetch", "unpack", "run", "diff", "layer", "push", "export"];

/// Seconds with as many digits as mean something.
fn seconds(value: f64) -> String {
    if value < 1.0 { format!("{value:.3}") } else { format!("{value:.2}") }
}

/// Text in one cell of a table.
fn cell(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
    match line.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

const BEGIN: &str = "<!-- bench: what follows is written by `cargo xtask bench --markdown` -->\n";
const END: &str = "<!-- bench: end -->\n";

/// A document with the tables in their place; `None` if it has none.
pub(super) fn placed(document: &str, tables: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{tables}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(workload: &'static str, mode: Mode, tool: &'static str, walls: &[f64]) -> Row {
        let cost = |wall: &f64| Cost { wall: *wall, cpu: 1.0, memory: 2_000_000, written: 5_000_000 };
        let mut told = Told::default();
        if tool == "kiln" {
            told.busy = [("run".to_owned(), 0.25)].into();
            told.runs = vec![0.02];
        }
        let runs = walls.iter().map(|w| Run { cost: cost(w), told: told.clone() }).collect();
        Row { workload, mode, tool, runs, stopped: None, failed: None }
    }

    fn report(rows: Vec<Row>) -> Report {
        Report { rows, repetitions: 3, command: "cargo xtask bench".into(), ..Report::default() }
    }

    #[test]
    fn ratios_are_of_medians_and_to_the_best_peer() {
        let text = report(vec![
            row("w1", Mode::Warm, "kiln", &[9.0, 1.0, 1.5]),
            row("w1", Mode::Warm, "buildah", &[3.0, 3.0, 80.0]),
            row("w1", Mode::Warm, "podman", &[6.0]),
        ])
        .markdown();
        assert!(text.contains("| w1 | warm | 1.50 | 3.00 | buildah | 0.50 | ≤ 0.4 | **no** | 1.00 | 2 |"), "{text}");
        assert!(text.contains("| w1 | warm | kiln | 1.50 | 1.00 | 2 | 5 |  |"), "{text}");
        assert!(text.contains("| w1 | warm | podman | 6.00 | 1.00 | 2 | 5 | 0.25 |"), "{text}");
        assert!(text.contains("| | mode | wall | run |\n|---|---|---|---|\n| w1 | warm | 1500 | 250 |"), "{text}");
    }

    #[test]
    fn a_failure_is_a_row_and_no_peer() {
        let mut failed = row("w7", Mode::Cold, "buildkit", &[]);
        failed.failed = Some("it\nended | badly".into());
        let text = report(vec![row("w7", Mode::Cold, "kiln", &[0.0123]), failed]).markdown();
        assert!(text.contains("| w7 | cold | buildkit | it ended \\| badly ||||||"), "{text}");
        assert!(text.contains("| w7 | cold | 0.012 |  |  |  | ≤ 0.5 |  |  | 2 |"), "{text}");
    }

    #[test]
    fn who_was_stopped_is_slower_than_that() {
        let mut late = row("w2", Mode::Cold, "buildah", &[]);
        late.stopped = Some(100);
        let rows = vec![row("w2", Mode::Cold, "kiln", &[5.0]), row("w2", Mode::Cold, "buildkit", &[50.0]), late];
        let text = report(rows).markdown();
        assert!(text.contains("| w2 | cold | buildah | stopped after 100 |  |  |  | < 0.05 |"), "{text}");
        assert!(text.contains("| w2 | cold | 5.00 | 50.00 | buildkit | 0.10 |"), "{text}");
    }

    #[test]
    fn targets_beside_the_ratios_are_judged() {
        let mut report = report(vec![
            row("w6", Mode::Warm, "kiln", &[0.3]),
            row("w1", Mode::NoCache, "kiln", &[1.0]),
            row("w10", Mode::NoCache, "kiln", &[1.0]),
        ]);
        report.walk = Some(0.1);
        let text = report.rules();
        assert!(text.contains("2 MB at most") && text.contains(": met."), "{text}");
        assert!(text.contains("(0.100 s): 3.0 ×: **not met**."), "{text}");
        assert!(text.contains("20 ms in w1, 20 ms in w10"), "{text}");
    }

    #[test]
    fn json_has_every_run() {
        let text = report(vec![row("w1", Mode::Warm, "kiln", &[1.0, 2.0])]).json();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["rows"][0]["runs"][1]["wall"], 2.0);
        assert_eq!(value["rows"][0]["runs"][0]["told"]["busy"]["run"], 0.25);
        assert_eq!((&value["rows"][0]["mode"], &value["version"]), (&json!("warm"), &json!(2)));
    }

    #[test]
    fn tables_go_where_the_document_has_room() {
        let document = format!("prose\n{BEGIN}old\n{END}more\n");
        assert_eq!(placed(&document, "new\n").unwrap(), format!("prose\n{BEGIN}new\n{END}more\n"));
        assert_eq!(placed("prose", "new"), None);
    }
}
