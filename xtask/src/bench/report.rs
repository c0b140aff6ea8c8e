//! The table, and the same as JSON.

use serde_json::json;

use super::Mode;
use super::measure::Cost;

/// The runs of one tool on one workload in one mode.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) workload: &'static str,
    pub(super) tool: &'static str,
    pub(super) mode: Mode,
    pub(super) costs: Vec<Cost>,
}

impl Row {
    /// Medians, each by itself.
    fn median(&self) -> Cost {
        let of = |value: fn(&Cost) -> f64| middle(self.costs.iter().map(value).collect());
        Cost { wall: of(|c| c.wall), cpu: of(|c| c.cpu), memory: of(|c| c.memory as f64) as u64 }
    }
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Prints a Markdown table: medians, and Kiln's share of each peer's.
pub(super) fn table(rows: &[Row]) {
    print!("{}", markdown(rows));
}

fn markdown(rows: &[Row]) -> String {
    let mut text =
        String::from("| workload | mode | tool | wall s | CPU s | peak MB | wall, kiln : tool | CPU | memory |\n");
    text += "|---|---|---|---|---|---|---|---|---|\n";
    for row in rows {
        let cost = row.median();
        let ours = rows.iter().find(|r| r.tool == "kiln" && r.workload == row.workload && r.mode == row.mode);
        let share = |value: fn(&Cost) -> f64| match ours {
            Some(ours) if ours.tool != row.tool => format!("{:.2}", value(&ours.median()) / value(&cost)),
            _ => String::new(),
        };
        text += &format!(
            "| {} | {} | {} | {:.2} | {:.2} | {} | {} | {} | {} |\n",
            row.workload,
            mode_name(row.mode),
            row.tool,
            cost.wall,
            cost.cpu,
            cost.memory / 1_000_000,
            share(|c| c.wall),
            share(|c| c.cpu),
            share(|c| c.memory as f64),
        );
    }
    text
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Cold => "cold",
        Mode::NoCache => "no-cache",
        Mode::Warm => "warm",
    }
}

/// Prints one JSON document with every run.
pub(super) fn json(rows: &[Row]) {
    let rows: Vec<_> = rows
        .iter()
        .map(|r| json!({"workload": r.workload, "mode": r.mode, "tool": r.tool, "median": r.median(), "runs": r.costs}))
        .collect();
    println!("{}", json!({"version": 1, "unit": {"wall": "s", "cpu": "s", "memory": "B"}, "rows": rows}));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_medians() {
        let cost = |wall| Cost { wall, cpu: 1.0, memory: 2_000_000 };
        let row = |tool, walls: [f64; 3]| Row { workload: "w1", tool, mode: Mode::Warm, costs: walls.map(cost).into() };
        let text = markdown(&[row("kiln", [9.0, 1.0, 1.5]), row("buildah", [3.0, 3.0, 80.0])]);
        assert!(text.contains("| w1 | warm | kiln | 1.50 | 1.00 | 2 |  |  |  |"), "{text}");
        assert!(text.contains("| w1 | warm | buildah | 3.00 | 1.00 | 2 | 0.50 | 1.00 | 1.00 |"), "{text}");
    }
}
