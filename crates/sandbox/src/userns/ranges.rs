//! Ranges of ids: the files with subordinate ones, and the kernel's maps.

use std::fs;
use std::io;

use crate::wire::{Fault, Step};

/// A stretch of ids and what they are outside of the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub inside: u32,
    pub outside: u32,
    pub count: u32,
}

/// As many ranges as the kernel takes in one map, less the one of the user.
const MAX_RANGES: usize = 339;

/// What `/etc/subuid` or `/etc/subgid` gives the user, one after the other from 0 on.
pub fn subordinate(kind: &str, uid: u32) -> Result<Vec<Range>, Fault> {
    let path = format!("/etc/sub{kind}");
    let text = match fs::read_to_string(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
        other => other.step(|| format!("read {path}"))?,
    };
    let name = name_of(uid, &fs::read_to_string("/etc/passwd").unwrap_or_default());
    let found = of_user(&text, uid, name.as_deref());
    if found.is_empty() {
        let user = name.unwrap_or_else(|| uid.to_string());
        let add = format!("usermod --add-sub{kind}s 100000-165535 {user}");
        return Err(Fault::new(
            format!("find subordinate {kind}s"),
            format!("{path} has no line for {user}; as root: {add}"),
        ));
    }
    Ok(found)
}

/// The user's name in `/etc/passwd`.
fn name_of(uid: u32, passwd: &str) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        (id.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// Lines are `user:first:count`, the user by name or number; what is not understood is none of ours.
fn of_user(text: &str, uid: u32, name: Option<&str>) -> Vec<Range> {
    let mut ranges = Vec::new();
    let mut next: u32 = 0;
    for line in text.lines() {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let [user, first, count] = fields[..] else { continue };
        let (Ok(outside), Ok(count)) = (first.parse::<u32>(), count.parse::<u32>()) else { continue };
        let ours = name == Some(user) || user.parse() == Ok(uid);
        let fits = outside.checked_add(count).is_some() && next.checked_add(count).is_some();
        if ours && count > 0 && fits && ranges.len() < MAX_RANGES {
            ranges.push(Range { inside: next, outside, count });
            next += count;
        }
    }
    ranges
}

/// Puts one more id among the ranges, as itself; those from there on move up by one.
pub fn around(id: u32, ranges: &[Range]) -> Vec<Range> {
    let myself = Range { inside: id, outside: id, count: 1 };
    let mut out = Vec::new();
    for range in ranges {
        let below = id.saturating_sub(range.inside).min(range.count);
        let parts = [
            Range { count: below, ..*range },
            Range { inside: range.inside + below + 1, outside: range.outside + below, count: range.count - below },
        ];
        out.extend(parts.into_iter().filter(|part| part.count > 0));
    }
    out.push(myself);
    out
}

/// The ids of a map, each as itself: for who may map all it has.
pub fn identity(map: &str) -> io::Result<Vec<Range>> {
    let range = |(inside, count)| Range { inside, outside: inside, count };
    Ok(parts(map).map(range).collect())
}

/// How many ids a map has; the text may hold several, and the largest counts.
pub fn total(map: &str) -> u64 {
    map.split('/').map(|one| parts(one).map(|(_, count)| u64::from(count)).sum()).max().unwrap_or(0)
}

/// Whether a map has this id.
pub fn holds(map: &str, id: u32) -> bool {
    parts(map).any(|(inside, count)| id.checked_sub(inside).is_some_and(|beyond| beyond < count))
}

/// The first and last column of a map.
fn parts(map: &str) -> impl Iterator<Item = (u32, u32)> + '_ {
    let numbers: Vec<u32> = map.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    (0..numbers.len() / 3).map(move |at| (numbers[at * 3], numbers[at * 3 + 2]))
}

/// As the kernel takes a map.
pub fn text(ranges: &[Range]) -> String {
    ranges.iter().map(|r| format!("{} {} {}\n", r.inside, r.outside, r.count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_user_are_joined() {
        let text = "# comment\nann:100000:65536\nbob:200000:10\n1001:300000:5\nann:0:x\nann:4294967295:2\n bad\n";
        let range = |inside, outside, count| Range { inside, outside, count };
        assert_eq!(of_user(text, 1000, Some("ann")), [range(0, 100_000, 65536)]);
        assert_eq!(of_user(text, 1001, Some("bob")), [range(0, 200_000, 10), range(10, 300_000, 5)]);
        assert_eq!(of_user(text, 1002, None), []);
        assert_eq!(name_of(7, "root:x:0:0\nann:x:7:7::/:\n").as_deref(), Some("ann"));
    }

    #[test]
    fn the_user_stays_itself_among_them() {
        let range = |inside, outside, count| Range { inside, outside, count };
        let given = [range(0, 100_000, 10), range(10, 200_000, 5)];
        assert_eq!(
            around(3, &given),
            [range(0, 100_000, 3), range(4, 100_003, 7), range(11, 200_000, 5), range(3, 3, 1)]
        );
        assert_eq!(
            around(12, &given),
            [range(0, 100_000, 10), range(10, 200_000, 2), range(13, 200_002, 3), range(12, 12, 1)]
        );
        assert_eq!(around(99, &given), [given[0], given[1], range(99, 99, 1)]);
        assert_eq!(around(10, &given), [range(0, 100_000, 10), range(11, 200_000, 5), range(10, 10, 1)]);
    }

    #[test]
    fn maps_are_read_and_written() {
        let map = "         0          0 4294967295\n";
        assert_eq!(text(&identity(map).unwrap()), "0 0 4294967295\n");
        assert_eq!(total("0 1000 1 1 100000 65536 / 0 1000 1"), 65537);
        assert_eq!((total("0 1000 1/0 1000 1"), total("")), (1, 0));
        let map = "0 1000 1 1 100000 65536";
        assert!(holds(map, 0) && holds(map, 1) && holds(map, 65536) && !holds(map, 65537));
    }
}
