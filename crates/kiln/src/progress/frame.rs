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
