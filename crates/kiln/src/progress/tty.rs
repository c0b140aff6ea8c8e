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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::OwnedFd;

    use kiln_engine::event::{Done, Stream};
    use kiln_plan::StepId;
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    use rustix::termios::{Winsize, tcsetwinsize};

    use super::*;

    /// As much of a terminal as the drawing needs; it panics at any sequence it does not know.
    struct Terminal {
        width: usize,
        rows: Vec<Vec<char>>,
        at: (usize, usize),
        wraps: bool,
        visible: bool,
        bold: bool,
    }

    impl Terminal {
        fn show(width: usize, bytes: &[u8]) -> Terminal {
            let text = std::str::from_utf8(bytes).unwrap();
            let mut t = Terminal { width, rows: vec![Vec::new()], at: (0, 0), wraps: true, visible: true, bold: false };
            let mut chars = text.chars();
            while let Some(c) = chars.next() {
                match c {
                    '\r' => t.at.1 = 0,
                    '\n' => {
                        t.at.0 += 1;
                        if t.at.0 == t.rows.len() {
                            t.rows.push(Vec::new());
                        }
                    }
                    '\x1b' => {
                        assert_eq!(chars.next(), Some('['));
                        let mut sequence = String::new();
                        while !sequence.ends_with(|c: char| c.is_ascii_alphabetic()) {
                            sequence.push(chars.next().unwrap());
                        }
                        t.control(&sequence);
                    }
                    c => t.put(c),
                }
            }
            t
        }

        fn control(&mut self, sequence: &str) {
            match sequence {
                "?25l" => self.visible = false,
                "?25h" => self.visible = true,
                "?7l" => self.wraps = false,
                "?7h" => self.wraps = true,
                "2K" => self.rows[self.at.0].clear(),
                "J" => {
                    self.rows.truncate(self.at.0 + 1);
                    self.rows[self.at.0].truncate(self.at.1);
                }
                "0m" => self.bold = false,
                style if style.ends_with('m') => self.bold = true,
                up => {
                    let rows: usize = up.strip_suffix('A').expect(up).parse().unwrap();
                    assert!(rows > 0 && rows <= self.at.0, "up {rows} from {}", self.at.0);
                    self.at.0 -= rows;
                }
            }
        }

        fn put(&mut self, c: char) {
            assert!(!c.is_control(), "{c:?}");
            let (row, column) = self.at;
            assert!(column < self.width, "row {row} is too wide: {:?}", self.rows[row]);
            let row = &mut self.rows[row];
            row.resize(row.len().max(column + 1), ' ');
            row[column] = c;
            self.at.1 += 1;
        }

        fn text(&self) -> String {
            let rows = self.rows.iter().map(|r| r.iter().collect::<String>().trim_end().to_owned() + "\n");
            rows.collect::<String>().trim_end_matches('\n').to_owned()
        }
    }

    /// The two ends of a terminal of a size: what a user sees, and what a program writes to.
    fn terminal(width: u16, height: u16) -> (File, OwnedFd) {
        let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&user).unwrap();
        unlockpt(&user).unwrap();
        tcsetwinsize(&user, Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let program = ioctl_tiocgptpeer(&user, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        (File::from(user), program)
    }

    /// Everything written to a terminal until no one holds its other end.
    fn read_all(mut user: File, seen: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // Reading ends with EIO when the other end is closed.
            while let Ok(n @ 1..) = user.read(&mut piece) {
                seen.lock().unwrap().extend_from_slice(&piece[..n]);
            }
        })
    }

    fn contains(bytes: &[u8], text: &str) -> bool {
        bytes.windows(text.len()).any(|w| w == text.as_bytes())
    }

    /// A build; `running` is called while its command runs.
    fn build(tty: &Tty, running: impl FnOnce()) {
        let (step, title) = (StepId(1), "[1/2] RUN make");
        tty.event(&Event::TaskStarted { id: 0, title: "[internal] load build context" });
        tty.event(&Event::TaskDone { id: 0, took: Duration::from_millis(40), failed: false });
        tty.event(&Event::StepStarted { step, title });
        for n in 0..40 {
            let bytes = format!("\x1b[{n}Aline {n} \x1b[31m{}\n", "wide ".repeat(30));
            tty.event(&Event::StepOutput { step, stream: Stream::Stdout, bytes: bytes.as_bytes() });
        }
        running();
        tty.event(&Event::Warning("something is old\nand \x1b[5mslow"));
        tty.event(&Event::StepDone { step, title, done: Done::Ran, took: Duration::from_millis(400), size: Some(5) });
        let took = Duration::from_millis(100);
        tty.event(&Event::StepFailed { step: StepId(2), title: "[2/2] COPY nothing /", took });
    }

    #[test]
    fn a_terminal_ends_with_the_list_and_as_it_was() {
        let (user, program) = terminal(50, 12);
        let size = program.try_clone().unwrap();
        assert_eq!(size_of(&size), Some(Size { width: 50, height: 12 }));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let reader = read_all(user, seen.clone());
        let out = Box::new(File::from(program));
        let tty = Tty::start(out, Box::new(move || size_of(&size)), true, "Building").unwrap();
        build(&tty, || {
            // Drawn by a thread of its own, soon.
            while !contains(&seen.lock().unwrap(), " => => # line 39 wide") {
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        tty.finish();
        tty.finish();
        drop(tty);
        reader.join().unwrap();
        let bytes = seen.lock().unwrap().clone();
        let screen = Terminal::show(50, &bytes);
        assert!(screen.visible && screen.wraps && !screen.bold, "modes are not as they were");
        assert_eq!(screen.at.1, 0, "the cursor is not at the beginning of a line");
        let text = screen.text();
        let (head, list) = text.split_once("FAILED\n").unwrap();
        assert!(head.starts_with("warning: something is old\nand slow\n[+] Building "), "{text}");
        let want = "
 => [internal] load build context             0.0s
 => [1/2] RUN make                            0.4s
 => ERROR [2/2] COPY nothing /                0.1s";
        assert_eq!(list, &want[1..], "{text}");
    }

    #[test]
    fn a_terminal_that_went_away_stops_nothing() {
        let (user, program) = terminal(80, 24);
        drop(user);
        let size = program.try_clone().unwrap();
        let out = Box::new(File::from(program));
        let tty = Tty::start(out, Box::new(move || size_of(&size)), false, "Building").unwrap();
        build(&tty, || std::thread::sleep(2 * FRAME));
        tty.finish();
    }

    #[test]
    fn a_frame_without_colour_has_none() {
        let lines = [Line { look: Look::Failed, text: "x".to_owned() }];
        let want = "\x1b[?25l\r\x1b[2A\x1b[?7l\x1b[2Kx\n\x1b[J\x1b[?7h\x1b[?25h";
        assert_eq!(paint(&[], &lines, 2, false), want);
    }
}
