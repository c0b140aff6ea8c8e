//! Text of commands, registries and Dockerfiles made safe to show: no control characters, no escape sequences, no
//! change of writing direction, no line wider than there is room.

use unicode_width::UnicodeWidthChar;

/// Bytes of a line after which it is shown in pieces.
pub const MAX_LINE: usize = 16 * 1024;
/// Columns between tab stops.
const TAB: usize = 8;

/// Where [`clean`] is in a sequence that terminals act on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Text,
    /// After ESC.
    Escape,
    /// In a control sequence, which a letter ends.
    Control,
    /// In a string for the terminal (a title, a link), which ST or BEL ends.
    Str,
}

/// One line without anything a terminal would act on; tabs become spaces, and what is not UTF-8 becomes U+FFFD.
pub fn clean(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let (mut out, mut columns, mut at) = (String::with_capacity(text.len()), 0, At::Text);
    for c in text.chars() {
        at = match (at, c) {
            (At::Str, '\u{7}' | '\u{9c}' | '\u{18}' | '\u{1a}') => At::Text,
            (_, '\u{1b}') => At::Escape,
            (At::Str, _) => At::Str,
            (At::Escape, '[') | (_, '\u{9b}') => At::Control,
            (At::Escape, ']' | 'P' | 'X' | '^' | '_') => At::Str,
            (_, '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}') => At::Str,
            // Designations such as ESC ( B have one more character.
            (At::Escape, ' '..='/') => At::Escape,
            (At::Escape, '0'..='~') => At::Text,
            (At::Control, ' '..='?') => At::Control,
            (At::Control, '@'..='~') => At::Text,
            _ => {
                push(&mut out, &mut columns, c);
                At::Text
            }
        };
    }
    out
}

fn push(out: &mut String, columns: &mut usize, c: char) {
    if c == '\t' {
        let spaces = TAB - *columns % TAB;
        out.extend(std::iter::repeat_n(' ', spaces));
        *columns += spaces;
    } else if !c.is_control() && !reorders(c) {
        out.push(c);
        *columns += c.width().unwrap_or(0);
    }
}

/// Whether a character changes the order or the place of those around it.
fn reorders(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}' | '\u{feff}')
}

/// A title in one clean line: its first, as a heredoc's title has many.
pub fn title(text: &str) -> String {
    clean(text.lines().next().unwrap_or("").trim_end().as_bytes())
}

/// Columns that clean text takes.
pub fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// As much of clean text as fits, and how many columns it takes.
pub fn cut(text: &str, columns: usize) -> (&str, usize) {
    let mut taken = 0;
    for (at, c) in text.char_indices() {
        let next = taken + c.width().unwrap_or(0);
        if next > columns {
            return (&text[..at], taken);
        }
        taken = next;
    }
    (text, taken)
}

/// Clean text in at most so many columns, with `...` where it was cut and there is room to say so.
pub fn fit(text: &str, columns: usize) -> String {
    let (head, _) = cut(text, columns);
    if head.len() == text.len() || columns < 8 {
        return head.to_owned();
    }
    format!("{}...", cut(text, columns - 3).0)
}

/// Makes lines of what a command writes in pieces.
#[derive(Debug, Default)]
pub struct Lines {
    open: Vec<u8>,
}

impl Lines {
    /// Takes more bytes and hands on each line that they end, without its end, not yet clean. Text that a lone carriage
    /// return overwrites is left out; a line longer than [`MAX_LINE`] comes in pieces.
    pub fn add(&mut self, bytes: &[u8], line: &mut dyn FnMut(&[u8])) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            self.extend(&rest[..end], line);
            line(visible(&self.open));
            self.open.clear();
            rest = &rest[end + 1..];
        }
        self.extend(rest, line);
    }

    /// What was written since the last line ended.
    pub fn open(&self) -> &[u8] {
        visible(&self.open)
    }

    /// Hands on the last line if nothing ended it.
    pub fn end(&mut self, line: &mut dyn FnMut(&[u8])) {
        if !visible(&self.open).is_empty() {
            line(visible(&self.open));
        }
        self.open.clear();
    }

    fn extend(&mut self, bytes: &[u8], line: &mut dyn FnMut(&[u8])) {
        for piece in bytes.chunks(MAX_LINE) {
            self.open.extend_from_slice(piece);
            if self.open.len() <= MAX_LINE {
                continue;
            }
            // A progress bar that redraws itself with carriage returns never ends its line.
            let overwritten = span(&self.open).start;
            self.open.drain(..overwritten);
            while self.open.len() > MAX_LINE {
                let at = boundary(&self.open, MAX_LINE);
                line(&self.open[..at]);
                self.open.drain(..at);
            }
        }
    }
}

/// What a terminal shows of a line with carriage returns, near enough.
fn visible(line: &[u8]) -> &[u8] {
    &line[span(line)]
}

/// What follows the last carriage return that is not at the end.
fn span(line: &[u8]) -> std::ops::Range<usize> {
    let end = line.iter().rposition(|b| *b != b'\r').map_or(0, |at| at + 1);
    let start = line[..end].iter().rposition(|b| *b == b'\r').map_or(0, |at| at + 1);
    start..end
}

/// The last place at or before `at` where a UTF-8 character begins.
fn boundary(bytes: &[u8], at: usize) -> usize {
    (at.saturating_sub(3)..=at).rev().find(|i| bytes[*i] & 0xc0 != 0x80).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        let mut take = |l: &[u8]| out.push(clean(l));
        pieces.iter().for_each(|p| lines.add(p, &mut take));
        lines.end(&mut take);
        out
    }

    #[test]
    fn escape_sequences_and_controls_go() {
        for (hostile, shown) in [
            ("\x1b[31mred\x1b[0m", "red"),
            ("\x1b[2J\x1b[H\x1b[?25lgone", "gone"),
            ("\x1b]0;title\x07text", "text"),
            ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\ end", "link end"),
            ("\x1bP1$r\x1b\\a\x1b(Bb\x1bcc\x1b7d", "abcd"),
            ("\u{9b}31mx\u{9d}0;t\u{9c}y", "xy"),
            ("a\x08\x08b\x07\x00c\x7f", "abc"),
            ("user\u{202e}txt.exe\u{2066}", "usertxt.exe"),
            ("\x1b[31", ""),
            ("\x1b[3\x1b[1mbold", "bold"),
            ("\x1b[1\u{e9}", "\u{e9}"),
            ("a\tb\t\tc", "a       b               c"),
        ] {
            assert_eq!(clean(hostile.as_bytes()), shown, "{hostile:?}");
        }
        assert_eq!(clean(b"\xff\xfeok\xc3"), "\u{fffd}\u{fffd}ok\u{fffd}");
    }

    #[test]
    fn whatever_is_written_nothing_a_terminal_acts_on_is_left() {
        let mut seed = 1_u32;
        let mut byte = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let [high, ..] = seed.to_be_bytes();
            // Mostly what sequences are made of.
            if high & 1 == 0 { b"\x1b[]P;?0m\x07\\\xc2\x9b\x9c"[usize::from(high >> 1) % 13] } else { high }
        };
        for _ in 0..2000 {
            let line: Vec<u8> = (0..40).map(|_| byte()).collect();
            let text = clean(&line);
            assert!(!text.chars().any(char::is_control), "{line:?} became {text:?}");
        }
    }

    #[test]
    fn lines_are_put_together_from_pieces() {
        assert_eq!(lines(&[b"a", b"b\nc\n\nd", b"e"]), ["ab", "c", "", "de"]);
        assert_eq!(lines(&[b"caf\xc3", b"\xa9\n"]), ["caf\u{e9}"]);
        assert_eq!(lines(&[b"dos\r\n", b"dos\r", b"\n"]), ["dos", "dos"]);
    }

    #[test]
    fn carriage_returns_overwrite() {
        assert_eq!(lines(&[b" 10%\r", b" 50%\r100%\ndone\n"]), ["100%", "done"]);
        assert_eq!(lines(&[b" 10%\r 20%\r"]), [" 20%"]);
    }

    #[test]
    fn huge_lines_come_in_pieces_that_keep_characters_whole() {
        let long = "\u{e9}".repeat(MAX_LINE);
        let got = lines(&[b"x", long.as_bytes(), b"\n"]);
        assert!(got.len() >= 2 && got.iter().all(|l| l.len() <= MAX_LINE && !l.contains('\u{fffd}')));
        assert_eq!(got.concat(), format!("x{long}"));
        let long = "y".repeat(MAX_LINE);
        assert_eq!(lines(&[long.as_bytes(), b"\r", b"\n"]).concat(), long);
    }

    #[test]
    fn a_bar_that_never_ends_its_line_is_not_kept() {
        let mut lines = Lines::default();
        for n in 0..100_000 {
            lines.add(format!("\r{n:3}%").as_bytes(), &mut |_| panic!("no line ended"));
        }
        assert!(lines.open.len() <= MAX_LINE);
        assert_eq!(lines.open(), b"99999%");
    }

    #[test]
    fn text_is_cut_by_columns() {
        assert_eq!(cut("日本語", 5), ("日本", 4));
        assert_eq!(fit("RUN make install", 10), "RUN mak...");
        assert_eq!(fit("RUN make", 8), "RUN make");
        assert_eq!(fit("RUN make", 4), "RUN ");
        assert_eq!(title("RUN <<EOF\nmake\nEOF\n"), "RUN <<EOF");
    }
}
