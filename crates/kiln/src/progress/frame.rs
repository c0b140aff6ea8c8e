//! The live list as lines of text, from what is known, the time and the size of the terminal. Nothing is read or
//! written here.

use std::time::Duration;

use super::board::{Board, State, Vertex};
use super::human;
use super::text;

/// What a line is, for its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// The line above the list.
    Header,
    /// Something that runs.
    Running,
    /// Something that ended well.
    Done,
    /// Something that failed.
    Failed,
    /// Something that was stopped.
    Stopped,
    /// Output of a step, a blob that moves.
    Detail,
}

/// One line, clean and not wider than asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What it is.
    pub look: Look,
    /// Its text.
    pub text: String,
}

/// Columns and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// Blobs shown of each direction.
const TRANSFERS: usize = 6;

/// The list while things happen: what runs with its last output, and as much of the rest as there is room for, in at
/// most one row less than the terminal has.
pub fn live(board: &Board, now: Duration, size: Size, doing: &str) -> Vec<Line> {
    let rows = size.height.saturating_sub(1);
    if board.vertices.is_empty() || rows == 0 {
        return Vec::new();
    }
    let mut out = vec![header(board, now, size.width, doing, "")];
    let shown = share(board, now, rows - 1);
    for (vertex, rows) in &shown.lines {
        out.push(head(vertex, now, size.width));
        out.extend(details(vertex, now).into_iter().rev().take(*rows).rev().map(|d| detail(&d, size.width)));
    }
    if shown.hidden > 0 {
        let text = format!(" => ... and {} more", shown.hidden);
        out.push(Line { look: Look::Running, text: text::fit(&text, size.width) });
    }
    out
}

/// The list when all is over, however long: every task and step, and the last output of those that failed.
pub fn last(board: &Board, now: Duration, width: usize, doing: &str) -> Vec<Line> {
    if board.vertices.is_empty() {
        return Vec::new();
    }
    let is = |state: State| board.vertices.iter().any(|v| v.state == state);
    let end = match () {
        () if is(State::Failed) => " FAILED",
        () if is(State::Stopped) => " STOPPED",
        () => " FINISHED",
    };
    let mut out = vec![header(board, now, width, doing, end)];
    for vertex in &board.vertices {
        out.push(head(vertex, now, width));
        if vertex.state == State::Failed {
            out.extend(vertex.log.last().iter().map(|l| detail(&logged(l), width)));
        }
    }
    out
}

/// Which vertices are shown, each with how many rows of details.
struct Shown<'a> {
    lines: Vec<(&'a Vertex, usize)>,
    /// Running ones for which there is no row.
    hidden: usize,
}

/// Shares rows out: first what runs or failed, then its details in equal parts, then what ended last.
fn share(board: &Board, now: Duration, rows: usize) -> Shown<'_> {
    let matters = |v: &Vertex| matches!(v.state, State::Running | State::Failed);
    let mut chosen: Vec<bool> = board.vertices.iter().map(matters).collect();
    let count = chosen.iter().filter(|c| **c).count();
    let mut hidden = 0;
    if count > rows {
        let keep = rows.saturating_sub(1);
        hidden = count - keep;
        for c in chosen.iter_mut().filter(|c| **c).skip(keep) {
            *c = false;
        }
        // Without even one row for a vertex there is none for saying so.
        hidden = if rows == 0 { 0 } else { hidden };
    }
    let mut left = rows.saturating_sub(count);
    let mut wanted: Vec<usize> =
        board.vertices.iter().zip(&chosen).map(|(v, c)| if *c { details(v, now).len() } else { 0 }).collect();
    let mut given = vec![0; wanted.len()];
    // A row to each in turn, until there are no more rows or no more wishes.
    while left > 0 && wanted.iter().any(|w| *w > 0) {
        for (want, got) in wanted.iter_mut().zip(&mut given).filter(|(w, _)| **w > 0) {
            if left > 0 {
                (*want, *got, left) = (*want - 1, *got + 1, left - 1);
            }
        }
    }
    if hidden == 0 {
        for c in chosen.iter_mut().rev().filter(|c| !**c).take(left) {
            *c = true;
        }
    }
    let lines = board.vertices.iter().zip(given).zip(chosen).filter(|(_, c)| *c).map(|(shown, _)| shown).collect();
    Shown { lines, hidden }
}

fn header(board: &Board, now: Duration, width: usize, doing: &str, end: &str) -> Line {
    let counted = || board.vertices.iter().filter(|v| v.counts);
    let (ended, all) = (counted().filter(|v| v.ended()).count(), counted().count());
    let counts = if all == 0 { String::new() } else { format!(" ({ended}/{all})") };
    let text = format!("[+] {doing} {}{counts}{end}", human::seconds(now));
    Line { look: Look::Header, text: text::fit(&text, width) }
}

/// A vertex's own line: what it is, and its time at the right edge.
fn head(vertex: &Vertex, now: Duration, width: usize) -> Line {
    let (look, word) = match vertex.state {
        State::Running => (Look::Running, ""),
        State::Done => (Look::Done, ""),
        State::Cached => (Look::Done, "CACHED "),
        State::Failed => (Look::Failed, "ERROR "),
        State::Stopped => (Look::Stopped, "STOPPED "),
    };
    let text = format!(" => {word}{}{}", vertex.title, moved(vertex));
    Line { look, text: at_edge(&text, &human::seconds(vertex.time(now)), width) }
}

/// How much a group of transfers moved.
fn moved(vertex: &Vertex) -> String {
    if vertex.transfers.is_empty() {
        return String::new();
    }
    let sum =
        |of: &dyn Fn(&super::board::Transfer) -> u64| vertex.transfers.iter().map(of).fold(0, u64::saturating_add);
    let (current, total) = (sum(&|t| t.current), sum(&|t| t.total.unwrap_or(t.current)));
    let blobs = human::count(vertex.transfers.len(), "blob");
    match vertex.state {
        State::Running => format!(" {blobs}, {} / {}", human::growing_size(current), human::growing_size(total)),
        _ => format!(" {blobs}, {}", human::size(current)),
    }
}

/// What is shown below a vertex, without the room it takes: text, and a time for the right edge.
fn details(vertex: &Vertex, now: Duration) -> Vec<(String, String)> {
    if vertex.ended() && vertex.state != State::Failed {
        return Vec::new();
    }
    let mut out: Vec<(String, String)> = vertex.log.last().iter().map(|l| logged(l)).collect();
    for transfer in vertex.transfers.iter().filter(|t| !t.finished).take(TRANSFERS) {
        let total = transfer.total.map(|t| format!(" / {}", human::growing_size(t))).unwrap_or_default();
        let text = format!(" => => {} {}{total}", transfer.name, human::growing_size(transfer.current));
        out.push((text, human::seconds(transfer.time(now))));
    }
    out
}

fn logged(line: &str) -> (String, String) {
    (format!(" => => # {line}"), String::new())
}

fn detail((text, time): &(String, String), width: usize) -> Line {
    Line { look: Look::Detail, text: at_edge(text, time, width) }
}

/// Text at the left and a short one at the right edge; the left one is cut where they would meet.
fn at_edge(left: &str, right: &str, width: usize) -> String {
    if right.is_empty() {
        return text::fit(left, width);
    }
    let room = width.saturating_sub(right.len() + 1);
    // Too narrow for both: what it is matters more than how long it took.
    if room < 10 {
        return text::fit(left, width);
    }
    let left = text::fit(left, room);
    let gap = width - right.len() - text::width(&left);
    format!("{left}{}{right}", " ".repeat(gap))
}

#[cfg(test)]
mod tests {
    use kiln_engine::event::{Direction, Done, Event, Stream};
    use kiln_plan::StepId;

    use super::*;

    fn board(events: &[(u64, Event<'_>)]) -> Board {
        let mut board = Board::default();
        events.iter().for_each(|(at, event)| board.apply(event, Duration::from_millis(*at)));
        board
    }

    fn start(step: usize, title: &str) -> Event<'_> {
        Event::StepStarted { step: StepId(step), title }
    }

    fn output(step: usize, bytes: &[u8]) -> Event<'_> {
        Event::StepOutput { step: StepId(step), stream: Stream::Stdout, bytes }
    }

    fn done(step: usize, title: &str, done: Done, millis: u64) -> Event<'_> {
        Event::StepDone { step: StepId(step), title, done, took: Duration::from_millis(millis), size: None }
    }

    fn moved(name: &str, current: u64, finished: bool) -> Event<'_> {
        Event::Transfer { name, direction: Direction::Download, current, total: Some(60_000_000), finished }
    }

    fn text(lines: &[Line]) -> String {
        lines.iter().map(|l| format!("{}\n", l.text)).collect()
    }

    fn live_text(board: &Board, millis: u64, width: usize, height: usize) -> String {
        let lines = live(board, Duration::from_millis(millis), Size { width, height }, "Building");
        assert!(lines.len() < height.max(1), "{} lines in {height} rows", lines.len());
        lines.iter().for_each(|l| assert!(text::width(&l.text) <= width, "{:?}", l.text));
        text(&lines)
    }

    /// A build in its middle.
    fn middle() -> Board {
        board(&[
            (0, Event::TaskStarted { id: 0, title: "[internal] load metadata for alpine" }),
            (300, Event::TaskDone { id: 0, took: Duration::from_millis(300), failed: false }),
            (300, done(1, "[a 1/3] COPY x y", Done::Cached, 0)),
            (400, start(2, "[a 2/3] RUN apk add build-base openssl-dev")),
            (400, moved("sha256:abcdef123456", 0, false)),
            (500, output(2, b"fetching\n(1/9) musl\n(2/9) gcc\n")),
            (900, start(3, "[b 1/1] RUN make")),
            (1000, output(3, b"cc main.c\n")),
            (1600, moved("sha256:abcdef123456", 12_345_678, false)),
        ])
    }

    #[test]
    fn what_runs_is_shown_with_its_last_output() {
        let want = "\
[+] Building 2.0s (2/4)
 => [internal] load metadata for alpine              0.3s
 => CACHED [a 1/3] COPY x y                          0.0s
 => [a 2/3] RUN apk add build-base openssl-dev       1.6s
 => => # fetching
 => => # (1/9) musl
 => => # (2/9) gcc
 => [internal] download 1 blob, 12.35MB / 60.00MB    1.6s
 => => sha256:abcdef123456 12.35MB / 60.00MB         1.6s
 => [b 1/1] RUN make                                 1.1s
 => => # cc main.c
";
        assert_eq!(live_text(&middle(), 2000, 57, 24), want);
    }

    #[test]
    fn few_rows_go_to_what_runs_and_its_newest_output() {
        let want = "\
[+] Building 2.0s (2/4)
 => [a 2/3] RUN apk add build-bas... 1.6s
 => => # (2/9) gcc
 => [internal] download 1 blob, 1... 1.6s
 => => sha256:abcdef123456 12.35M... 1.6s
 => [b 1/1] RUN make                 1.1s
";
        assert_eq!(live_text(&middle(), 2000, 41, 7), want);
        let want = "[+] Building 2.0s (2/4)\n => [a 2/3] RUN apk add build-bas... 1.6s\n => ... and 2 more\n";
        assert_eq!(live_text(&middle(), 2000, 41, 4), want);
    }

    #[test]
    fn no_size_is_too_small() {
        let board = middle();
        for width in 0..90 {
            for height in 0..30 {
                live_text(&board, 2000, width, height);
            }
        }
    }

    #[test]
    fn nothing_is_drawn_before_anything_happened() {
        assert_eq!(live_text(&Board::default(), 0, 80, 24), "");
        assert!(last(&Board::default(), Duration::ZERO, 80, "Building").is_empty());
    }

    #[test]
    fn the_last_list_keeps_everything_and_the_log_of_what_failed() {
        let mut board = middle();
        let took = Duration::from_millis(2100);
        board.apply(&output(3, b"main.c:1: error\nmake: *** [all] Error 1"), Duration::from_secs(3));
        board.apply(&Event::StepFailed { step: StepId(3), title: "x", took }, Duration::from_secs(3));
        board.apply(&moved("sha256:abcdef123456", 60_000_000, true), Duration::from_secs(3));
        board.stop(Duration::from_secs(3));
        let want = "\
[+] Building 3.0s (4/4) FAILED
 => [internal] load metadata for alpine               0.3s
 => CACHED [a 1/3] COPY x y                           0.0s
 => STOPPED [a 2/3] RUN apk add build-base openssl... 2.6s
 => [internal] download 1 blob, 60MB                  2.6s
 => ERROR [b 1/1] RUN make                            2.1s
 => => # cc main.c
 => => # main.c:1: error
 => => # make: *** [all] Error 1
";
        assert_eq!(text(&last(&board, Duration::from_secs(3), 58, "Building")), want);
    }

    #[test]
    fn hostile_output_stays_in_its_line() {
        let wide = "\u{65e5}\u{672c}".repeat(2000);
        let board = board(&[
            (0, start(1, "RUN \x1b[2J\x1b]0;t\x07evil\nmore")),
            (0, output(1, b"\x1b[1A\x1b[31mup\r\n10%\r20%\r100%")),
            (0, Event::StepOutput { step: StepId(1), stream: Stream::Stderr, bytes: b"\xff\xfe\n\n \n" }),
            (0, Event::StepOutput { step: StepId(1), stream: Stream::Stderr, bytes: wide.as_bytes() }),
        ]);
        let got = live_text(&board, 0, 30, 24);
        let want = format!(
            "[+] Building 0.0s (0/1)\n => RUN evil              0.0s\n => => # up\n => => # \u{fffd}\u{fffd}\n => => # 100%\n => => # {}...\n",
            "\u{65e5}\u{672c}".repeat(4) + "\u{65e5}"
        );
        assert_eq!(got, want);
    }

    #[test]
    fn equal_tasks_are_one_line_and_numbers_may_come_again() {
        let task = |id| Event::TaskStarted { id, title: "[internal] load build context" };
        let end = |id| Event::TaskDone { id, took: Duration::ZERO, failed: false };
        let board = board(&[
            (0, task(0)),
            (50, task(1)),
            (100, end(0)),
            (200, end(1)),
            (300, start(0, "[linux/amd64 1/1] RUN x")),
            (400, done(0, "[linux/amd64 1/1] RUN x", Done::Ran, 100)),
            (500, start(0, "[linux/arm64 1/1] RUN x")),
        ]);
        let want = "\
[+] Building 0.6s (2/3)
 => [internal] load build context   0.2s
 => [linux/amd64 1/1] RUN x         0.1s
 => [linux/arm64 1/1] RUN x         0.1s
";
        assert_eq!(live_text(&board, 600, 40, 24), want);
    }
}
