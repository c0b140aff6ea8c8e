//! How a book is written: one JSON object a line, appended.
//!
//! ```text
//! {"ledger":1,"about":{"build":"…","cloud":"googlecompute","name":"googlecompute","account":{…},"began":"…"}}
//! {"intend":{"entry":1,"resource":{"cloud":"googlecompute","kind":"instance","name":"packer-…",…}}}
//! {"made":{"entry":1,"id":"1234"}}
//! {"strike":{"entry":1}}
//! ```
//!
//! A last line without its end was being written when the process died. Whoever wrote it had not been told that it is on
//! disk, so what it says was not acted on, and it does not count.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version of the format. A book of another one is left alone.
const VERSION: u32 = 1;
/// More than any builder needs.
pub(crate) const LONGEST_LINE: usize = 64 << 10;
/// A book that is larger was not written by a builder.
pub(crate) const LARGEST: u64 = 16 << 20;

/// What was made in a cloud and is not yet deleted. No secrets in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// `googlecompute` or `alicloud-ecs`.
    pub cloud: String,
    /// In the cloud's words: `instance`, `disk`, `image`, `vpc`, `object`, …
    pub kind: String,
    /// The name or client token that was chosen before the create call, to find it by when the answer was lost.
    pub name: String,
    /// The id that the cloud gave; `None` until known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Project and zone, or region.
    #[serde(default)]
    pub scope: BTreeMap<String, String>,
    /// The call that deletes it, for people: `DELETE …/instances/packer-…`, `DeleteVpc VpcId=…`.
    pub delete: String,
}

/// Whose book it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The identifier of this build: letters, digits and hyphens. One run of several builds has one for each.
    pub build: String,
    /// `googlecompute` or `alicloud-ecs`.
    pub cloud: String,
    /// The build's name in its template.
    pub name: String,
    /// What must be known to ask the cloud again: endpoint, region, project. Never secrets.
    #[serde(default)]
    pub account: BTreeMap<String, String>,
    /// When, as RFC 3339 writes it.
    #[serde(default)]
    pub began: String,
}

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    ledger: u32,
    about: About,
}

/// Any other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Line {
    /// A create call is about to be made.
    Intend {
        /// Counts from 1.
        entry: u64,
        /// What it makes.
        resource: Resource,
    },
    /// The cloud said what it made.
    Made {
        /// Which.
        entry: u64,
        /// Its id.
        id: String,
    },
    /// It is gone, or stays on purpose.
    Strike {
        /// Which.
        entry: u64,
    },
}

/// What a book says.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// `None` when its first line is not there: nothing was ever intended.
    pub(crate) about: Option<About>,
    /// What is open, by number.
    pub(crate) open: BTreeMap<u64, Resource>,
    /// The next number.
    pub(crate) next: u64,
    /// How many bytes of it are whole lines.
    pub(crate) whole: usize,
    /// The first line that could not be understood.
    pub(crate) damaged: Option<String>,
}

/// The first line of a book.
pub(crate) fn head(about: &About) -> Result<Vec<u8>, String> {
    bytes(&Head { ledger: VERSION, about: about.clone() })
}

/// A line as it is written.
pub(crate) fn bytes(line: &impl Serialize) -> Result<Vec<u8>, String> {
    let mut bytes = serde_json::to_vec(line).map_err(|error| error.to_string())?;
    if bytes.len() >= LONGEST_LINE {
        return Err(format!("it has {} bytes, {LONGEST_LINE} is the most", bytes.len()));
    }
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads a book. What cannot be understood is told, and the rest counts: it may still cost money.
pub(crate) fn read(text: &[u8]) -> Read {
    let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let mut read = Read { next: 1, whole, ..Read::default() };
    for (at, line) in text[..whole].split_inclusive(|&byte| byte == b'\n').enumerate() {
        let taken = match (at, line.len() > LONGEST_LINE) {
            (_, true) => Err(format!("it has {} bytes, {LONGEST_LINE} is the most", line.len())),
            (0, false) => begin(&mut read, line),
            (_, false) => take(&mut read, line),
        };
        if let Err(why) = taken {
            read.damaged.get_or_insert_with(|| format!("line {}: {why}", at + 1));
            // Without its head a book says nothing that can be relied on.
            if read.about.is_none() {
                break;
            }
        }
    }
    read
}

fn begin(read: &mut Read, line: &[u8]) -> Result<(), String> {
    /// A later version may say everything else in other words.
    #[derive(Deserialize)]
    struct Version {
        ledger: u32,
    }
    let foreign = |_| "it is not the head of a book of Kiln's".to_owned();
    let version: Version = serde_json::from_slice(line).map_err(foreign)?;
    if version.ledger != VERSION {
        return Err(format!("its version is {}, and this Kiln reads {VERSION}", version.ledger));
    }
    let head: Head = serde_json::from_slice(line).map_err(foreign)?;
    read.about = Some(head.about);
    Ok(())
}

fn take(read: &mut Read, line: &[u8]) -> Result<(), String> {
    // What a line holds is not quoted: it may be anything.
    let line: Line = serde_json::from_slice(line).map_err(|_| "it is not a line of a book".to_owned())?;
    let missing = |entry: u64| format!("nothing is open with the number {entry}");
    match line {
        Line::Intend { entry, .. } if entry < read.next => return Err(format!("the number {entry} is taken")),
        Line::Intend { entry: u64::MAX, .. } => return Err("its number is too large".to_owned()),
        Line::Intend { entry, resource } => {
            read.next = entry + 1;
            read.open.insert(entry, resource);
        }
        Line::Made { entry, id } => {
            read.open.get_mut(&entry).ok_or_else(|| missing(entry))?.id = Some(id);
        }
        Line::Strike { entry } => {
            read.open.remove(&entry).ok_or_else(|| missing(entry))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = r#"{"ledger":1,"about":{"build":"b","cloud":"c","name":"n"}}"#;
    const VPC: &str = r#"{"intend":{"entry":1,"resource":{"cloud":"c","kind":"vpc","name":"v","delete":"DeleteVpc"}}}"#;

    /// What is open, with its id; the first fault; how much of it is whole.
    type Said = (Vec<(u64, Option<String>)>, Option<String>, usize);

    fn said(text: &str) -> Said {
        let read = read(text.as_bytes());
        (read.open.into_iter().map(|(n, r)| (n, r.id)).collect(), read.damaged, read.whole)
    }

    #[test]
    fn lines_add_up() {
        let made = r#"{"made":{"entry":1,"id":"vpc-1"}}"#;
        let text = format!("{HEAD}\n{VPC}\n{made}\n");
        assert_eq!(said(&text), (vec![(1, Some("vpc-1".to_owned()))], None, text.len()));
        let text = format!("{HEAD}\n{VPC}\n{made}\n{{\"strike\":{{\"entry\":1}}}}\n");
        assert_eq!(said(&text), (vec![], None, text.len()));
    }

    #[test]
    fn a_line_without_its_end_does_not_count_wherever_it_was_cut() {
        let before = format!("{HEAD}\n{VPC}\n");
        let text = format!("{before}{{\"strike\":{{\"entry\":1}}}}\n");
        for cut in before.len()..text.len() {
            assert_eq!(said(&text[..cut]), (vec![(1, None)], None, before.len()), "cut at {cut}");
        }
        for cut in 0..=HEAD.len() {
            let read = read(&text.as_bytes()[..cut]);
            assert!(read.about.is_none() && read.damaged.is_none() && read.whole == 0, "cut at {cut}: {read:?}");
        }
    }

    #[test]
    fn what_is_not_understood_is_told_and_the_rest_counts() {
        let table = [
            ("{}", "it is not a line of a book"),
            ("", "it is not a line of a book"),
            ("\u{1b}]0;x\u{7}", "it is not a line of a book"),
            (r#"{"burn":{"entry":1}}"#, "it is not a line of a book"),
            (r#"{"strike":{"entry":7}}"#, "nothing is open with the number 7"),
            (r#"{"made":{"entry":7,"id":"x"}}"#, "nothing is open with the number 7"),
            (r#"{"strike":{"entry":-1}}"#, "it is not a line of a book"),
        ];
        for (line, why) in table {
            let text = format!("{HEAD}\n{line}\n{VPC}\n");
            assert_eq!(said(&text), (vec![(1, None)], Some(format!("line 2: {why}")), text.len()), "{line}");
        }
        let twice = format!("{HEAD}\n{VPC}\n{}\n", VPC.replace("vpc", "disk"));
        assert_eq!(said(&twice).1.unwrap(), "line 3: the number 1 is taken");
        let last = format!("{HEAD}\n{}\n", VPC.replace("\"entry\":1", "\"entry\":18446744073709551615"));
        assert_eq!(said(&last).1.unwrap(), "line 2: its number is too large");
    }

    #[test]
    fn a_foreign_or_later_head_is_not_read_further() {
        for (head, why) in [
            ("hello", "line 1: it is not the head of a book of Kiln's"),
            (r#"{"ledger":1,"about":{}}"#, "line 1: it is not the head of a book of Kiln's"),
            (r#"{"ledger":2,"of":"later"}"#, "line 1: its version is 2, and this Kiln reads 1"),
        ] {
            let (open, damaged, _) = said(&format!("{head}\n{VPC}\n"));
            assert_eq!((open, damaged.as_deref()), (vec![], Some(why)));
        }
    }

    #[test]
    fn deep_and_long_lines_are_faults_not_crashes() {
        let deep = "[".repeat(LONGEST_LINE / 2);
        assert_eq!(said(&format!("{HEAD}\n{deep}\n")).1.unwrap(), "line 2: it is not a line of a book");
        let long = "x".repeat(LONGEST_LINE);
        let fault = said(&format!("{HEAD}\n{long}\n")).1.unwrap();
        assert_eq!(fault, format!("line 2: it has {} bytes, {LONGEST_LINE} is the most", LONGEST_LINE + 1));
        assert!(bytes(&long).unwrap_err().contains("is the most"));
    }
}
