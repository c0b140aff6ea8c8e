//! Live progress on a terminal: one thread draws, at most twelve times a second, over what it drew before.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kiln_engine::event::{Event, Events};

use super::Reader;
use super::board::Board;
use super::frame::{self, Line, Look, Size};
use super::text;

/// Time between two frames.
const FRAME: Duration = Duration::from_millis(85);
/// The size of a terminal that does not tell.
const UNKNOWN: Size = Size { width: 80, height: 24 };

/// Asks for the size of the terminal.
pub type AskSize = Box<dyn Fn() -> Option<Size> + Send>;

/// Draws until it is finished.
pub struct Tty {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    /// Told when the story is over.
    over: Condvar,
    started: Instant,
}

#[derive(Default)]
struct State {
    board: Board,
    over: bool,
}

/// The size of the terminal that is standard error.
pub fn stderr_size() -> Option<Size> {
    size_of(rustix::stdio::stderr())
}

/// The size of a terminal, if it is one and knows.
pub fn size_of(terminal: impl std::os::fd::AsFd) -> Option<Size> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    let (width, height) = (usize::from(size.ws_col), usize::from(size.ws_row));
    (width > 0 && height > 0).then_some(Size { width, height })
}

impl Tty {
    /// Begins to draw.
    pub fn start(out: Box<dyn Write + Send>, size: AskSize, color: bool, doing: &'static str) -> io::Result<Tty> {
        let (state, over, started) = (Mutex::default(), Condvar::new(), Instant::now());
        let shared = Arc::new(Shared { state, over, started });
        let mut screen = Screen { out: Some(out), size, color, doing, drawn: Vec::new() };
        let reads = shared.clone();
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(move || reads.draw(&mut screen))?;
        Ok(Tty { shared, thread: Mutex::new(Some(thread)) })
    }
}

impl Events for Tty {
    fn event(&self, event: &Event<'_>) {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.over {
            state.board.apply(event, self.shared.started.elapsed());
        } else if let Event::Warning(text) = event {
            // Nobody draws any more, but the user is to know.
            let _ = io::stderr().write_all(warning(text, false).as_bytes());
        }
    }
}

impl Reader for Tty {
    fn finish(&self) {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.over = true;
        drop(state);
        self.shared.over.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A thread that panicked has said so itself.
        drop(thread.map(JoinHandle::join));
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Shared {
    /// The drawing thread.
    fn draw(&self, screen: &mut Screen) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !state.over {
            let waited = self.over.wait_timeout_while(state, FRAME, |state| !state.over);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.over {
                break;
            }
            let size = screen.size();
            let lines = frame::live(&state.board, self.started.elapsed(), size, screen.doing);
            let warnings = std::mem::take(&mut state.board.warnings);
            // The terminal may be slow; the build is not to wait for it.
            drop(state);
            screen.frame(&warnings, lines, size);
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        }
        let now = self.started.elapsed();
        state.board.stop(now);
        let size = screen.size();
        let lines = frame::last(&state.board, now, size.width, screen.doing);
        let warnings = std::mem::take(&mut state.board.warnings);
        drop(state);
        screen.frame(&warnings, lines, size);
    }
}

/// The terminal, and what is on it.
struct Screen {
    /// None once it could not be written to.
    out: Option<Box<dyn Write + Send>>,
    size: AskSize,
    color: bool,
    doing: &'static str,
    drawn: Vec<Line>,
}

impl Screen {
    fn size(&self) -> Size {
        (self.size)().unwrap_or(UNKNOWN)
    }

    /// Replaces what was drawn, with warnings above it that stay.
    fn frame(&mut self, warnings: &[String], lines: Vec<Line>, size: Size) {
        if warnings.is_empty() && lines == self.drawn {
            return;
        }
        let bytes = paint(warnings, &lines, self.drawn.len().min(size.height.saturating_sub(1)), self.color);
        self.drawn = lines;
        // One write a frame, so that nothing half-drawn is seen.
        let written = self.out.as_mut().map(|out| out.write_all(bytes.as_bytes()).and_then(|()| out.flush()));
        if matches!(written, Some(Err(_))) {
            // A terminal that went away is no reason to stop a build.
            self.out = None;
        }
    }
}

/// What makes the terminal show warnings and lines instead of the last `above` rows. It leaves the cursor visible and
/// the terminal's modes as they were, so that whatever ends this process leaves a usable terminal.
fn paint(warnings: &[String], lines: &[Line], above: usize, color: bool) -> String {
    let mut out = String::from("\x1b[?25l\r");
    if above > 0 {
        let _ = write!(out, "\x1b[{above}A");
    }
    if !warnings.is_empty() {
        out.push_str("\x1b[J");
        warnings.iter().for_each(|w| out.push_str(&warning(w, color)));
    }
    // A character may be wider than thought; it is cut then, and does not push the rest down.
    out.push_str("\x1b[?7l");
    for line in lines {
        out.push_str("\x1b[2K");
        match style(line.look).filter(|_| color) {
            Some(style) => drop(write!(out, "\x1b[{style}m{}\x1b[0m", line.text)),
            None => out.push_str(&line.text),
        }
        out.push('\n');
    }
    out.push_str("\x1b[J\x1b[?7h\x1b[?25h");
    out
}

fn style(look: Look) -> Option<&'static str> {
    match look {
        Look::Header => Some("1"),
        Look::Running => None,
        Look::Done => Some("34"),
        Look::Failed => Some("31"),
        Look::Stopped => Some("33"),
        Look::Detail => Some("2"),
    }
}

/// A warning in clean lines.
pub fn warning(message: &str, color: bool) -> String {
    let label = if color { "\x1b[33mwarning\x1b[0m" } else { "warning" };
    let mut out = String::new();
    for (at, line) in message.lines().enumerate() {
        if at == 0 {
            let _ = write!(out, "{label}: ");
        }
        let _ = writeln!(out, "{}", text::clean(line.as_bytes()));
    }
    out
}
