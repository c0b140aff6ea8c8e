//! What scripts asked of a running system, and what became of it: told when a step is done and once more at the end.
//!
//! Shims write notes, the step's wrapper prints them as marked lines, [`Reader`] takes them out of the output. They are
//! kept beside the step's cache record, so that a step that does not run tells them as well.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use kiln_engine::event::{self, Event, Events};

use crate::ui::{BuildUi, Lines, Stream};

/// What a marked line begins with.
const MARK: &[u8] = b"\x1eKILN";
/// As many notes are kept of a step; a script that restarts services in a loop says nothing new.
const MAX_NOTES: usize = 1000;
/// A line that has no end yet is shown from this length on.
const MAX_OPEN: usize = 64 << 10;

/// What became of something that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The machine would have restarted.
    Reboot,
    /// It was left out.
    Skipped,
    /// It was written into a file that is read when the image starts.
    Kept,
    /// It asked about what runs, and nothing does.
    Unknown,
    /// A flag of a file, for the writer of a file system.
    Flags,
}

impl Kind {
    const ALL: [(Kind, &'static str, &'static str); 5] = [
        (Kind::Reboot, "reboot", "restarts, left out: what comes after them went on at once"),
        (Kind::Skipped, "skipped", "left out, for nothing runs here"),
        (Kind::Kept, "kept", "kept for when the image starts"),
        (Kind::Unknown, "unknown", "asked of what runs, and not known here"),
        (Kind::Flags, "flags", "flags of files, set where a file system with such flags is written"),
    ];

    fn by_word(word: &str) -> Option<Kind> {
        Kind::ALL.iter().find(|(_, w, _)| *w == word).map(|(kind, _, _)| *kind)
    }

    /// The word shims use.
    pub fn word(self) -> &'static str {
        Kind::ALL.iter().find(|(kind, _, _)| *kind == self).map_or("", |(_, word, _)| word)
    }
}

/// Something that a script asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What became of it.
    pub kind: Kind,
    /// What was asked for.
    pub text: String,
}

impl Note {
    fn parse(line: &str) -> Option<Note> {
        let (word, text) = line.split_once('\t')?;
        Some(Note { kind: Kind::by_word(word)?, text: text.to_owned() })
    }
}

/// Notes as they are kept in the store.
pub fn encode(notes: &[Note]) -> Vec<u8> {
    notes.iter().map(|n| format!("{}\t{}\n", n.kind.word(), n.text)).collect::<String>().into_bytes()
}

/// The reverse; what is not a note is passed over.
pub fn decode(bytes: &[u8]) -> Vec<Note> {
    String::from_utf8_lossy(bytes).lines().filter_map(Note::parse).collect()
}

/// Reads a build's events: what commands write is shown as lines, what shims tell is kept.
pub struct Reader {
    ui: BuildUi,
    state: Mutex<State>,
}

struct State {
    open: Vec<u8>,
    lines: Lines,
    notes: Vec<Note>,
    code: Option<i32>,
}

impl Reader {
    /// Shows with `ui`.
    pub fn new(ui: BuildUi) -> Arc<Reader> {
        let lines = ui.lines();
        let state = State { open: Vec::new(), lines, notes: Vec::new(), code: None };
        Arc::new(Reader { ui, state: Mutex::new(state) })
    }

    /// The notes since the last call, and the script's own exit code.
    pub fn take(&self) -> (Vec<Note>, Option<i32>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let open = std::mem::take(&mut state.open);
        state.lines.add(Stream::Out, &open);
        state.lines.end();
        let mut notes = std::mem::take(&mut state.notes);
        // They are kept in the store.
        notes.iter_mut().for_each(|note| note.text = self.ui.whole().masks().apply(&note.text));
        (notes, state.code.take())
    }
}

impl State {
    fn stdout(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            self.open.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.open);
                self.line(&line);
            }
        }
        // A line that cannot be a mark any more need not wait for its end.
        let unmarked = !MARK.starts_with(&self.open[..self.open.len().min(MARK.len())]);
        if unmarked || self.open.len() > MAX_OPEN {
            let part = std::mem::take(&mut self.open);
            self.lines.add(Stream::Out, &part);
        }
    }

    fn line(&mut self, line: &[u8]) {
        let Some(marked) = line.strip_prefix(MARK) else { return self.lines.add(Stream::Out, line) };
        let text = String::from_utf8_lossy(marked);
        let text = text.trim_end_matches('\n');
        if let Some(code) = text.strip_prefix("-CODE ") {
            self.code = code.parse().ok();
        } else if let Some(note) = text.strip_prefix(' ').and_then(Note::parse)
            && self.notes.len() < MAX_NOTES
        {
            self.notes.push(note);
        }
    }
}

impl Events for Reader {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::StepOutput { stream, bytes, .. } => {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                match stream {
                    event::Stream::Stdout => state.stdout(bytes),
                    event::Stream::Stderr => state.lines.add(Stream::Err, bytes),
                }
            }
            Event::Warning(text) => self.ui.message(&format!("warning: {text}")),
            _ => {}
        }
    }
}

/// Shows the notes of one step.
pub fn tell(notes: &[Note], ui: &BuildUi) {
    for note in notes {
        let what = match note.kind {
            Kind::Reboot => "offline: restart left out",
            Kind::Skipped => "offline: left out",
            Kind::Kept => "offline: kept",
            Kind::Unknown => "offline: not known",
            Kind::Flags => "offline: noted",
        };
        ui.message(&format!("{what}: {}", note.text));
    }
}

/// Shows at the end what all scripts asked for in vain, each once.
pub fn summary(notes: &[Note], ui: &BuildUi) {
    if notes.is_empty() {
        return;
    }
    ui.say("Built offline. What scripts asked of a running system:");
    for (kind, _, meaning) in Kind::ALL {
        let mut counted: BTreeMap<&str, usize> = BTreeMap::new();
        for note in notes.iter().filter(|n| n.kind == kind) {
            *counted.entry(&note.text).or_default() += 1;
        }
        if counted.is_empty() {
            continue;
        }
        ui.message(&format!("{meaning}:"));
        for (text, count) in counted {
            let times = if count > 1 { format!(" ({count} times)") } else { String::new() };
            ui.message(&format!("  {text}{times}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use kiln_plan::StepId;

    use super::*;
    use crate::ui::{Kept, Look, Masks, Ui};

    fn said(parts: &[&[u8]]) -> (String, Vec<Note>, Option<i32>) {
        let kept = Kept::default();
        let ui = Arc::new(Ui::new(Look::default(), Masks::default(), Box::new(kept.clone())));
        let reader = Reader::new(ui.build("n", 0));
        for bytes in parts {
            reader.event(&Event::StepOutput { step: StepId(0), stream: event::Stream::Stdout, bytes });
        }
        let (notes, code) = reader.take();
        (kept.text(), notes, code)
    }

    #[test]
    fn notes_are_taken_out_of_what_is_shown() {
        let (text, notes, code) =
            said(&[b"a\n\x1eKI", b"LN reboot\treboot -f\n", b"b", b"\x1eKILN", b"\n\x1eKILN-CODE 7\n"]);
        assert_eq!(text, "    n: a\n    n: b\n");
        assert_eq!(notes, [Note { kind: Kind::Reboot, text: "reboot -f".to_owned() }]);
        assert_eq!(code, Some(7));
    }

    #[test]
    fn notes_survive_the_store_and_nonsense_does_not() {
        let notes = [Note { kind: Kind::Kept, text: "sysctl a=1".to_owned() }];
        assert_eq!(decode(&encode(&notes)), notes);
        assert_eq!(decode(b"\xff\xfe\nkept\nwhat\tx\n"), []);
    }
}
