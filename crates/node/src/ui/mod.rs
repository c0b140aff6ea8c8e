//! What a run says, in Packer's words: headings, lines below them, errors, and the form for programs.
//!
//! All text passes [`Masks`] before it leaves. Lines of builds that run side by side never mix within a line.
//!
//! ```text
//! ==> name: heading          what is done
//!     name: line             what it wrote
//! 1539967803,name,ui,say,==> name: heading      the same with -machine-readable
//! ```

mod duration;
mod mask;

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use kiln_oci::{Mtime, time};
use kiln_packer::machine::{self, Record};

pub use duration::words;
pub use mask::{Masks, SHOWN};

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look {
    /// `-color`: each build has its own.
    pub color: bool,
    /// `-timestamp-ui`.
    pub timestamps: bool,
    /// `-machine-readable`: comma-separated values.
    pub machine: bool,
}

/// Colours of builds, in turn: green, cyan, magenta, yellow, blue.
const COLORS: [u8; 5] = [32, 36, 35, 33, 34];
const RED: u8 = 31;

/// Longest line that is shown as one: what a script writes without an end is cut into such pieces.
const MAX_LINE: usize = 64 << 10;

/// Where everything is said.
pub struct Ui {
    look: Look,
    masks: Masks,
    out: Mutex<Box<dyn Write + Send>>,
    clock: Box<dyn Fn() -> SystemTime + Send + Sync>,
}

/// What kind of thing a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Say,
    Message,
    Error,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Say => "say",
            Kind::Message => "message",
            Kind::Error => "error",
        }
    }
}

impl Ui {
    /// Says everything to `out`.
    pub fn new(look: Look, masks: Masks, out: Box<dyn Write + Send>) -> Ui {
        Ui { look, masks, out: Mutex::new(out), clock: Box::new(SystemTime::now) }
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Ui {
        self.clock = Box::new(clock);
        self
    }

    /// What must not be said.
    pub fn masks(&self) -> &Masks {
        &self.masks
    }

    /// Whether programs read it.
    pub fn is_for_programs(&self) -> bool {
        self.look.machine
    }

    /// Says something that is of no build.
    pub fn plain(&self, text: &str) {
        self.put(None, Kind::Say, None, text);
    }

    /// An error that is of no build.
    pub fn plain_error(&self, text: &str) {
        self.put(None, Kind::Error, None, text);
    }

    /// A line for programs; nothing otherwise.
    pub fn machine(&self, target: &str, kind: &str, data: &[&str]) {
        if !self.look.machine {
            return;
        }
        let data: Vec<String> = data.iter().map(|text| self.masks.apply(text)).collect();
        self.record(&Record::new(kind, data.iter().map(String::as_str)).of(target));
    }

    /// A reader of the lines of one build.
    pub fn build(self: &Arc<Self>, name: &str, position: usize) -> BuildUi {
        BuildUi { ui: self.clone(), name: name.to_owned(), color: COLORS[position % COLORS.len()] }
    }

    fn seconds(&self) -> i64 {
        let since = (self.clock)().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        i64::try_from(since).unwrap_or(i64::MAX)
    }

    fn record(&self, record: &Record) {
        self.write(&machine::line(self.seconds(), record));
    }

    fn put(&self, target: Option<&str>, kind: Kind, color: Option<u8>, text: &str) {
        let text = self.masks.apply(text);
        if self.look.machine {
            return self.record(&Record::new("ui", [kind.word(), &prefixed(target, kind, &text)]));
        }
        let mut all = String::new();
        for line in prefixed(target, kind, &text).split('\n') {
            if self.look.timestamps {
                all += &format!("{}: ", time::rfc3339(Mtime::secs(self.seconds())));
            }
            match color.filter(|_| self.look.color && !line.is_empty()) {
                Some(color) => {
                    let weight = u8::from(kind != Kind::Message);
                    all += &format!("\x1b[{weight};{color}m{line}\x1b[0m\n");
                }
                None => all += &format!("{line}\n"),
            }
        }
        self.write(&all);
    }

    fn write(&self, text: &str) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing can be done about a reader that is gone.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

fn prefixed(target: Option<&str>, kind: Kind, text: &str) -> String {
    let Some(target) = target else { return text.to_owned() };
    let arrow = if kind == Kind::Message { "   " } else { "==>" };
    let lines: Vec<String> = text.split('\n').map(|line| format!("{arrow} {target}: {line}")).collect();
    lines.join("\n")
}

/// What one build says.
#[derive(Clone)]
pub struct BuildUi {
    ui: Arc<Ui>,
    name: String,
    color: u8,
}

impl BuildUi {
    /// The name of the build.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where all is said.
    pub fn whole(&self) -> &Arc<Ui> {
        &self.ui
    }

    /// The same under another name.
    #[must_use]
    pub fn called(&self, name: &str) -> BuildUi {
        BuildUi { name: name.to_owned(), ..self.clone() }
    }

    /// A heading.
    pub fn say(&self, text: &str) {
        self.ui.put(Some(&self.name), Kind::Say, Some(self.color), text);
    }

    /// A line below it.
    pub fn message(&self, text: &str) {
        self.ui.put(Some(&self.name), Kind::Message, Some(self.color), text);
    }

    /// An error.
    pub fn error(&self, text: &str) {
        self.ui.put(Some(&self.name), Kind::Error, Some(RED), text);
    }

    /// The line that ends it.
    pub fn conclude(&self, text: &str, failed: bool) {
        let (kind, color) = if failed { (Kind::Error, RED) } else { (Kind::Say, self.color) };
        self.ui.put(None, kind, Some(color), text);
    }

    /// The line that begins a run: which colour this build has.
    pub fn introduce(&self) {
        let text = format!("{}: output will be in this color.", self.name);
        self.ui.put(None, Kind::Say, Some(self.color), &text);
    }

    /// Bytes of a command, shown as lines.
    pub fn lines(&self) -> Lines {
        Lines { ui: self.clone(), parts: [Vec::new(), Vec::new()] }
    }
}

/// Turns what a command writes, in whatever pieces, into lines: standard output below the heading, standard error as
/// headings, as Packer shows them.
pub struct Lines {
    ui: BuildUi,
    parts: [Vec<u8>; 2],
}

/// Where a command wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl Lines {
    /// Takes some bytes.
    pub fn add(&mut self, stream: Stream, bytes: &[u8]) {
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            let line = &mut self.parts[stream as usize];
            line.extend_from_slice(part);
            if part.ends_with(b"\n") || line.len() >= MAX_LINE {
                let line = std::mem::take(line);
                self.show(stream, &line);
            }
        }
    }

    /// Shows what has no end.
    pub fn end(&mut self) {
        for stream in [Stream::Out, Stream::Err] {
            let line = std::mem::take(&mut self.parts[stream as usize]);
            if !line.is_empty() {
                self.show(stream, &line);
            }
        }
    }

    fn show(&self, stream: Stream, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        // What a terminal would show: text before a carriage return is written over, as progress bars do.
        let text = text.trim_end().rsplit('\r').next().unwrap_or_default();
        // What remains would move the cursor or change colours of the terminal for good.
        let text: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\t' | '\x1b')).collect();
        match stream {
            Stream::Out => self.ui.message(&text),
            Stream::Err => self.ui.put_stderr(&text),
        }
    }
}

impl BuildUi {
    fn put_stderr(&self, text: &str) {
        self.ui.put(Some(&self.name), Kind::Error, Some(RED), text);
    }
}

/// A place that keeps what is written, for tests and for whoever shows it later.
#[derive(Clone, Default)]
pub struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    /// All that was written.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ui(look: Look) -> (Arc<Ui>, Kept) {
        let kept = Kept::default();
        let ui = Ui::new(look, Masks::new(["hunter2"]), Box::new(kept.clone()));
        (Arc::new(ui.with_clock(|| UNIX_EPOCH + Duration::from_secs(1_539_967_803))), kept)
    }

    #[test]
    fn lines_look_as_packer_writes_them() {
        let (ui, kept) = ui(Look::default());
        let build = ui.build("node", 0);
        build.say("Provisioning with shell script: a.sh\nsecond");
        let mut lines = build.lines();
        lines.add(Stream::Out, b"one\ntw");
        lines.add(Stream::Err, b"oops hunter2\n");
        lines.add(Stream::Out, b"o");
        lines.end();
        assert_eq!(
            kept.text(),
            "==> node: Provisioning with shell script: a.sh\n==> node: second\n    node: one\n\
             ==> node: oops <sensitive>\n    node: two\n"
        );
    }

    #[test]
    fn a_line_that_is_written_over_is_shown_as_it_ends() {
        let (ui, kept) = ui(Look::default());
        let mut lines = ui.build("node", 0).lines();
        lines.add(Stream::Out, b"(Reading ... 5%\r(Reading ... 100%\r(Reading ... done.)\n\rUnpacking a\r\n\n\r");
        lines.end();
        assert_eq!(kept.text(), "    node: (Reading ... done.)\n    node: Unpacking a\n    node: \n    node: \n");
    }

    #[test]
    fn programs_get_values_that_keep_their_commas() {
        let (ui, kept) = ui(Look { machine: true, ..Look::default() });
        ui.build("node", 0).say("a, b\nc");
        ui.machine("node", "artifact", &["0", "id", "hunter2"]);
        assert_eq!(
            kept.text(),
            "1539967803,,ui,say,==> node: a%!(PACKER_COMMA) b\\n==> node: c\n\
             1539967803,node,artifact,0,id,<sensitive>\n"
        );
    }

    #[test]
    fn times_and_colours_are_asked_for() {
        let (ui, kept) = ui(Look { color: true, timestamps: true, machine: false });
        let build = ui.build("node", 1);
        build.introduce();
        build.message("x");
        assert_eq!(
            kept.text(),
            "2018-10-19T16:50:03Z: \x1b[1;36mnode: output will be in this color.\x1b[0m\n\
             2018-10-19T16:50:03Z: \x1b[0;36m    node: x\x1b[0m\n"
        );
    }
}
