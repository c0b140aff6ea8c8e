//! What Kiln tells of itself while it builds: `docs/progress-events.md`, read back.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What one build of Kiln told.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub(super) struct Told {
    /// Seconds of work by kind of work. Kinds overlap, and several threads may do the same kind at once.
    pub(super) busy: BTreeMap<String, f64>,
    /// Seconds of each `RUN` that ran.
    pub(super) runs: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Event {
    StepDone {
        title: String,
        done: String,
        milliseconds: u64,
    },
    Finished {
        #[serde(default)]
        busy: BTreeMap<String, u64>,
    },
    #[serde(other)]
    Other,
}

impl Told {
    /// From what a build with `--progress json` wrote.
    pub(super) fn read(said: &str) -> Told {
        let mut told = Told::default();
        for event in said.lines().filter_map(|line| serde_json::from_str(line).ok()) {
            match event {
                Event::StepDone { title, done, milliseconds } if done == "ran" && title.contains("] RUN ") => {
                    told.runs.push(milliseconds as f64 / 1e3);
                }
                Event::Finished { busy } => {
                    told.busy = busy.into_iter().map(|(kind, micros)| (kind, micros as f64 / 1e6)).collect();
                }
                Event::StepDone { .. } | Event::Other => {}
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_and_what_it_took_is_found_among_other_lines() {
        let said = r#"{"time":"t","event":"started","version":1,"kiln":"0"}
warning: text
{"time":"t","event":"step-done","step":1,"title":"[2/3] RUN true","done":"ran","milliseconds":12,"size":3}
{"time":"t","event":"step-done","step":2,"title":"[3/3] RUN true","done":"cached","milliseconds":0,"size":3}
{"time":"t","event":"step-done","step":3,"title":"[1/3] COPY a b","done":"ran","milliseconds":9,"size":3}
{"time":"t","event":"finished","milliseconds":40,"busy":{"run":1500,"diff":250000}}
Built it"#;
        let told = Told::read(said);
        assert_eq!(told.runs, [0.012]);
        assert_eq!(told.busy, BTreeMap::from([("diff".to_owned(), 0.25), ("run".to_owned(), 0.0015)]));
        assert_eq!(Told::read("nothing"), Told::default());
    }
}
