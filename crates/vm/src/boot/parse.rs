//! Reading boot commands.

use std::time::Duration;

use super::{Action, Command, Key};
use crate::VmError;

/// The longest command, in characters; typed at Packer's pace it takes almost three hours.
const LONGEST: usize = 100_000;
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);
/// The longest thing between angle brackets: `<wait1h30m15s500ms>`.
const LONGEST_TAG: usize = 40;

pub(super) fn parse(text: &str) -> Result<Command, VmError> {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() > LONGEST {
        return Err(at(LONGEST, format!("it has {} characters; more than {LONGEST} are not typed", chars.len())));
    }
    let mut actions = Vec::new();
    let mut offset = 0;
    while let Some(symbol) = chars.get(offset) {
        if *symbol == '<'
            && let Some(inside) = tag(&chars[offset + 1..])
        {
            actions.push(meaning(&inside, offset)?);
            offset += inside.chars().count() + 2;
            continue;
        }
        let key = Key::of(*symbol).ok_or_else(|| untypable(*symbol, offset))?;
        actions.push(Action::Press(key));
        offset += 1;
    }
    Ok(Command { actions })
}

fn at(offset: usize, why: String) -> VmError {
    VmError::BootCommand { offset, why }
}

fn untypable(symbol: char, offset: usize) -> VmError {
    let why = match symbol {
        '\n' | '\r' => "a line break cannot be typed: write `<enter>`".to_owned(),
        '\t' => "a tabulator cannot be typed: write `<tab>`".to_owned(),
        _ => format!("{symbol:?} is not on a US keyboard, which is the one that the machine has"),
    };
    at(offset, why)
}

/// What is between angle brackets that mean something: letters and digits, or one character and On or Off. All other
/// brackets are typed.
fn tag(rest: &[char]) -> Option<String> {
    let end = rest.iter().skip(1).take(LONGEST_TAG).position(|c| *c == '>')? + 1;
    let inside = &rest[..end];
    let word = inside.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | 'µ'));
    let tail: String = inside[1..].iter().collect();
    let toggle = tail.eq_ignore_ascii_case("on") || tail.eq_ignore_ascii_case("off");
    (word || toggle).then(|| inside.iter().collect())
}

fn meaning(inside: &str, offset: usize) -> Result<Action, VmError> {
    if let Some(time) = strip(inside, "wait") {
        return wait(time).map(Action::Wait).map_err(|why| at(offset, format!("`<{inside}>`: {why}")));
    }
    if let Some(key) = Key::named(inside) {
        return Ok(Action::Press(key));
    }
    let toggled = |suffix: &str| {
        let name = strip_end(inside, suffix)?;
        let mut chars = name.chars();
        match (chars.next(), chars.next()) {
            (Some(symbol), None) => Key::of(symbol),
            _ => Key::named(name),
        }
    };
    // Off first: no key ends in "of", but a name that ends in "off" must not be looked for as one.
    if let Some(key) = toggled("off") {
        return Ok(Action::Up(key));
    }
    if let Some(key) = toggled("on") {
        return Ok(Action::Down(key));
    }
    Err(at(offset, unknown(inside)))
}

fn unknown(inside: &str) -> String {
    let lower = inside.to_ascii_lowercase();
    let (bare, toggle) = match (lower.strip_suffix("off"), lower.strip_suffix("on")) {
        (Some(bare), _) => (bare, "Off"),
        (None, Some(bare)) => (bare, "On"),
        (None, None) => (lower.as_str(), ""),
    };
    let near = |name: &&str| {
        let name = name.to_ascii_lowercase();
        let aliases =
            [("backspace", "bs"), ("delete", "del"), ("escape", "esc"), ("space", "spacebar"), ("ctrl", "leftctrl")];
        aliases.contains(&(bare, name.as_str())) || name.len() > 2 && distance(&name, bare) <= name.len() / 4
    };
    let hint = match Key::names().find(near) {
        Some(name) => format!("; did you mean `<{name}{toggle}>`?"),
        None => format!("; to type these letters, write `<<wait0s>{inside}>`"),
    };
    format!("`<{inside}>` is no key and no wait{hint}")
}

/// How many letters differ, by Levenshtein; both texts are short.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let here = (diagonal + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], here);
        }
    }
    row.last().copied().unwrap_or_default()
}

fn strip<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    text.get(..prefix.len()).filter(|head| head.eq_ignore_ascii_case(prefix)).map(|_| &text[prefix.len()..])
}

fn strip_end<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let split = text.len().checked_sub(suffix.len())?;
    text.get(split..).filter(|tail| tail.eq_ignore_ascii_case(suffix)).map(|_| &text[..split])
}

/// Nothing is a second, a number are seconds, the rest is Go's syntax of durations.
fn wait(text: &str) -> Result<Duration, String> {
    if text.is_empty() {
        return Ok(Duration::from_secs(1));
    }
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 =
            rest[..digits].parse().map_err(|_| "a time is written as `10`, `1.5s` or `1m30s`".to_owned())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            // A number alone.
            "" if digits == text.len() => 1.0,
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "" => return Err("a unit is missing at the end (ns, us, ms, s, m, h)".to_owned()),
            other => return Err(format!("`{other}` is no unit of time (ns, us, ms, s, m, h)")),
        };
        total += number * unit;
        rest = &rest[letters..];
    }
    let time = Duration::try_from_secs_f64(total).map_err(|_| "that is too long".to_owned())?;
    if time > LONGEST_WAIT { Err("that is more than a day".to_owned()) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        let spell = |action: &Action| match action {
            Action::Press(key) => format!("{}{}", if key.shift { "^" } else { "" }, key.qcode),
            Action::Down(key) => format!("+{}", key.qcode),
            Action::Up(key) => format!("-{}", key.qcode),
            Action::Wait(time) => format!("({time:?})"),
        };
        match parse(text) {
            Ok(command) => command.actions.iter().map(spell).collect::<Vec<_>>().join(" "),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn the_language() {
        let cases = [
            "aZ0 <enter><RETURN><bs>",
            "<wait><wait5><wait1m30s><wait1.5s><wait250ms><Wait0s>",
            "<leftShiftOn><rightCtrlOff><f12On><aOn><Boff><<On><\u{20}off>",
            "cat <<EOF >x && a<b>=c",
            "1 < 2 > 0 <",
            "<>< >",
        ];
        insta::assert_snapshot!(cases.map(read).join("\n"), @"
        a ^z 0 spc ret ret backspace
        (1s) (5s) (90s) (1.5s) (250ms) (0ns)
        +shift -ctrl_r +f12 +a -b +comma -spc
        boot command, character 17: `<b>` is no key and no wait; to type these letters, write `<<wait0s>b>`
        1 spc ^comma spc 2 spc ^dot spc 0 spc ^comma
        ^comma ^dot ^comma spc ^dot
        ");
    }

    #[test]
    fn mistakes_have_a_place_and_a_hint() {
        let cases = [
            "ab<entr>",
            "é",
            "x\ny",
            "\t",
            "<backspace>",
            "<leftshftOn>",
            "<waitfor>",
            "<wait5x>",
            "<wait1m5>",
            "<wait25h>",
            "<wait1e9>",
            "<wait...>",
            "<html>",
            &"x".repeat(100_001),
        ];
        insta::assert_snapshot!(cases.map(read).join("\n"), @"
        boot command, character 2: `<entr>` is no key and no wait; did you mean `<enter>`?
        boot command, character 0: 'é' is not on a US keyboard, which is the one that the machine has
        boot command, character 1: a line break cannot be typed: write `<enter>`
        boot command, character 0: a tabulator cannot be typed: write `<tab>`
        boot command, character 0: `<backspace>` is no key and no wait; did you mean `<bs>`?
        boot command, character 0: `<leftshftOn>` is no key and no wait; did you mean `<leftShiftOn>`?
        boot command, character 0: `<waitfor>`: a time is written as `10`, `1.5s` or `1m30s`
        boot command, character 0: `<wait5x>`: `x` is no unit of time (ns, us, ms, s, m, h)
        boot command, character 0: `<wait1m5>`: a unit is missing at the end (ns, us, ms, s, m, h)
        boot command, character 0: `<wait25h>`: that is more than a day
        boot command, character 0: `<wait1e9>`: `e` is no unit of time (ns, us, ms, s, m, h)
        boot command, character 0: `<wait...>`: a time is written as `10`, `1.5s` or `1m30s`
        boot command, character 0: `<html>` is no key and no wait; to type these letters, write `<<wait0s>html>`
        boot command, character 100000: it has 100001 characters; more than 100000 are not typed
        ");
        assert_eq!(parse("<<wait0s>html>").unwrap().actions.len(), 7);
    }

    /// Pieces of the language in any order: never more than an error, and one whose place is in the text.
    #[test]
    fn nonsense_is_never_worse_than_an_error() {
        let pieces = [
            "<",
            ">",
            "wait",
            "On",
            "off",
            "1",
            "m",
            ".",
            "é",
            "leftShift",
            "a",
            "<f1>",
            "<wait",
            "9999h",
            "\u{0}",
            "<<",
        ];
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..8 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.push_str(pieces[(state >> 60) as usize]);
            }
            if let Err(VmError::BootCommand { offset, .. }) = parse(&text) {
                assert!(offset < text.chars().count(), "{text}");
            }
        }
    }
}
