//! Two results of one case: where they are not the same, and in which way.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use super::build::{Built, EPOCH, Pair};
use super::case::OLD;
use super::image::Image;

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    /// In which way, without names: cases that differ in one way are shown once.
    pub(super) class: String,
    /// Where.
    pub(super) place: String,
    /// What the norm has.
    pub(super) buildkit: String,
    /// What Kiln has.
    pub(super) kiln: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  buildkit: {}\n  kiln:     {}", self.place, self.buildkit, self.kiln)
    }
}

/// All differences, the weightiest first.
pub(super) fn differences(pair: &Pair) -> Vec<Difference> {
    match (&pair.buildkit, &pair.kiln) {
        (Err(_), Err(_)) => Vec::new(),
        (Ok(buildkit), Ok(kiln)) => images(buildkit, kiln),
        (Err(said), Ok(_)) => vec![Difference {
            class: format!("only BuildKit refuses: {}", general(said)),
            place: "result".to_owned(),
            buildkit: said.clone(),
            kiln: "builds".to_owned(),
        }],
        (Ok(_), Err(said)) => vec![Difference {
            class: format!("only Kiln refuses: {}", general(said)),
            place: "result".to_owned(),
            buildkit: "builds".to_owned(),
            kiln: said.clone(),
        }],
    }
}

fn images(buildkit: &Image, kiln: &Image) -> Vec<Difference> {
    let mut found = Vec::new();
    trees(&buildkit.tree, &kiln.tree, &mut found);
    for difference in found.iter_mut().filter(|d| d.class.contains("content")) {
        let text = |image: &Image| image.texts.get(&difference.place).map_or(String::new(), |t| format!(" {t:?}"));
        let (theirs, ours) = (text(buildkit), text(kiln));
        difference.buildkit += &theirs;
        difference.kiln += &ours;
    }
    values("config", &buildkit.config, &kiln.config, &mut found);
    layers(&buildkit.layers, &kiln.layers, &mut found);
    found
}

fn trees(buildkit: &BTreeMap<String, String>, kiln: &BTreeMap<String, String>, found: &mut Vec<Difference>) {
    let paths: BTreeSet<&String> = buildkit.keys().chain(kiln.keys()).collect();
    for path in paths {
        let (theirs, ours) = (buildkit.get(path), kiln.get(path));
        if theirs == ours {
            continue;
        }
        let way = match (theirs, ours) {
            (Some(theirs), Some(ours)) => fields(theirs, ours),
            (Some(_), None) => "missing".to_owned(),
            (None, _) => "too much".to_owned(),
        };
        if (way.split_once(' ').is_some_and(|(_, fields)| fields == "mtime") && dated_at_the_epoch(theirs, ours))
            || (way == "d mtime" && dated_at_the_epoch(ours, theirs))
        {
            continue;
        }
        let shown = |line: Option<&String>| line.map_or("nothing", |l| l).to_owned();
        found.push(Difference {
            class: format!("tree: {way}"),
            place: path.clone(),
            buildkit: shown(theirs),
            kiln: shown(ours),
        });
    }
    // Dates matter less than what is there.
    found.sort_by_key(|d| d.class.ends_with("mtime"));
}

/// Kiln dates all that COPY and ADD bring at `SOURCE_DATE_EPOCH`, BuildKit only what is younger. See
/// `docs/deviations.md`. The other way round for directories that COPY puts something into. What RUN dates itself, as [`OLD`], stays as it is with both.
fn dated_at_the_epoch(theirs: Option<&String>, ours: Option<&String>) -> bool {
    let date = |line: Option<&String>| line?.split(' ').nth(3)?.strip_prefix('@')?.parse::<i64>().ok();
    date(ours) == Some(EPOCH) && date(theirs).is_some_and(|d| d < EPOCH && d != OLD)
}

/// Which fields of two lines of a dump differ.
fn fields(theirs: &str, ours: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (theirs.split(' ').collect(), ours.split(' ').collect());
    if a[0] != b[0] {
        return format!("{} is {}", a[0], b[0]);
    }
    let names = match a[0] {
        "f" => ["type", "mode", "owner", "mtime", "size", "content"],
        "h" => ["type", "=>", "link", "", "", ""],
        _ => ["type", "mode", "owner", "mtime", "target", "target"],
    };
    let at = |i: usize| (a.get(i) != b.get(i)).then(|| names.get(i).copied().unwrap_or("attributes"));
    let differ: BTreeSet<&str> = (0..a.len().max(b.len())).filter_map(at).collect();
    let differ: Vec<&str> = differ.into_iter().collect();
    format!("{} {}", a[0], differ.join(" and "))
}

fn values(place: &str, theirs: &Value, ours: &Value, found: &mut Vec<Difference>) {
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
                values(&format!("{place}.{key}"), &of(a), &of(b), found);
            }
        }
        (Value::Array(a), Value::Array(b)) if place.ends_with("history") && a.len() == b.len() => {
            a.iter().zip(b).enumerate().for_each(|(i, (a, b))| values(&format!("{place}.{i}"), a, b, found));
        }
        (a, b) if a != b => {
            let words = place.split('.').filter(|w| !w.starts_with(|c: char| c.is_ascii_digit()));
            found.push(Difference {
                class: words.collect::<Vec<_>>().join("."),
                place: place.to_owned(),
                buildkit: a.to_string(),
                kiln: b.to_string(),
            });
        }
        _ => {}
    }
}

fn layers(buildkit: &[Vec<String>], kiln: &[Vec<String>], found: &mut Vec<Difference>) {
    if buildkit.len() != kiln.len() {
        found.push(Difference {
            class: "number of layers".to_owned(),
            place: "layers".to_owned(),
            buildkit: buildkit.len().to_string(),
            kiln: kiln.len().to_string(),
        });
        return;
    }
    for (number, (theirs, ours)) in buildkit.iter().zip(kiln).enumerate() {
        let (a, b): (BTreeSet<&String>, BTreeSet<&String>) = (theirs.iter().collect(), ours.iter().collect());
        let (missing, more): (Vec<_>, Vec<_>) = (a.difference(&b).collect(), b.difference(&a).collect());
        if missing.is_empty() && more.is_empty() {
            continue;
        }
        // What is as it was below may be in a layer or not: Kiln leaves it out.
        if more.is_empty() && missing.iter().all(|p| !p.starts_with('-')) {
            continue;
        }
        let whiteouts = missing.iter().chain(&more).any(|p| p.starts_with('-'));
        found.push(Difference {
            class: format!("entries of a layer{}", if whiteouts { ", whiteouts" } else { "" }),
            place: format!("layer {number}"),
            buildkit: format!("also {missing:?}"),
            kiln: format!("also {more:?}"),
        });
    }
}

/// Why both refused: BuildKit's words, Kiln's words.
pub(super) fn reasons(pair: &Pair) -> (String, String) {
    let of = |built: &Built| built.as_ref().err().map_or_else(String::new, |said| general(said));
    (of(&pair.buildkit), of(&pair.kiln))
}

/// A message without what is particular to its case: quoted words, paths, digests and numbers.
fn general(said: &str) -> String {
    let line = said.lines().next().unwrap_or_default();
    let tail = line.rsplit_once("failed to solve: ").map_or(line, |(_, tail)| tail);
    let words = tail
        .split_whitespace()
        .filter(|w| !w.contains(['/', '"', '`', '\'']) && !w.contains("sha256") && !w.contains("::"));
    let text: String = words.collect::<Vec<_>>().join(" ").chars().filter(|c| !c.is_ascii_digit()).collect();
    text.chars().take(90).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(tree: &[(&str, &str)], layers: &[&[&str]], config: Value) -> Image {
        let own = |s: &&str| (*s).to_owned();
        Image {
            tree: tree.iter().map(|(p, l)| (own(p), own(l))).collect(),
            layers: layers.iter().map(|l| l.iter().map(own).collect()).collect(),
            config,
            ..Image::default()
        }
    }

    fn classes(a: Image, b: Image) -> Vec<String> {
        differences(&Pair { buildkit: Ok(a), kiln: Ok(b) }).into_iter().map(|d| d.class).collect()
    }

    #[test]
    fn equal_images_do_not_differ() {
        let one =
            || image(&[("/a", "d 0755 0:0 @1")], &[&["/a"]], serde_json::json!({"history": [{"created_by": "x"}]}));
        assert_eq!(classes(one(), one()), [""; 0]);
    }

    #[test]
    fn differences_are_named_by_what_differs() {
        let a = image(
            &[
                ("/a", "f 0644 0:0 @1 3 sha256:x"),
                ("/b", "d 0755 0:0 @1"),
                ("/c", "d 0755 0:0 @1"),
                ("/e", "l 0777 0:0 @1 -> x"),
            ],
            &[&["/a", "-/z", "/more"]],
            serde_json::json!({"config": {"Env": ["A=1"]}, "history": [{"created_by": "x"}, {"created_by": "y"}]}),
        );
        let b = image(
            &[
                ("/a", "f 0600 1:0 @1 3 sha256:x"),
                ("/b", "d 0755 0:0 @2"),
                ("/d", "d 0755 0:0 @1"),
                ("/e", "f 0777 0:0 @1 0 sha256:e"),
            ],
            &[&["/a"]],
            serde_json::json!({"config": {"Env": ["A=2"]}, "history": [{"created_by": "x"}, {"created_by": "z"}]}),
        );
        let wanted = [
            "tree: f mode and owner",
            "tree: missing",
            "tree: too much",
            "tree: l is f",
            "tree: d mtime",
            "config.config.Env",
            "config.history.created_by",
            "entries of a layer, whiteouts",
        ];
        assert_eq!(classes(a, b), wanted);
    }

    #[test]
    fn dates_of_what_is_copied_may_be_the_epoch() {
        let of = |date: i64| image(&[("/a", &format!("f 0644 0:0 @{date} 1 sha256:x"))], &[], Value::Null);
        assert_eq!(classes(of(EPOCH - 5), of(EPOCH)), [""; 0]);
        assert_eq!(classes(of(EPOCH), of(EPOCH - 5)), ["tree: f mtime"]);
        assert_eq!(classes(of(OLD), of(EPOCH)), ["tree: f mtime"]);
    }

    #[test]
    fn refusals_are_named_without_their_particulars() {
        let said =
            "ERROR: failed to build: failed to solve: failed to compute cache key: \"/a/b\": not found".to_owned();
        let pair = Pair { buildkit: Err(said), kiln: Ok(image(&[], &[], Value::Null)) };
        assert_eq!(differences(&pair)[0].class, "only BuildKit refuses: failed to compute cache key: not found");
        let both = Pair { buildkit: Err(String::new()), kiln: Err("x".to_owned()) };
        assert!(differences(&both).is_empty() && !both.both_built());
    }
}
