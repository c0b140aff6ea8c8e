//! Changes of a manifest by the places of what was read of it: what is not changed stays as it is, byte for byte. What is
//! new is JSON, which is YAML in blocks and in `[…]` alike.

use kiln_spec::source::Span;
use kiln_yaml::inner::Places;
use kiln_yaml::node::{Node, Value};
use serde_json::Value as Json;

/// Changes of one text.
#[derive(Debug)]
pub struct Edits<'t> {
    text: &'t str,
    list: Vec<(Span, String)>,
}

/// There is no place that something new could be written at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stuck;

impl<'t> Edits<'t> {
    /// None yet.
    pub fn of(text: &'t str) -> Edits<'t> {
        Edits { text, list: Vec::new() }
    }

    /// The text with all changes. Of several at one place each comes in its turn; the same one counts once.
    pub fn done(mut self) -> String {
        self.list.sort_by_key(|(span, _)| (span.start, span.end));
        let mut out = String::with_capacity(self.text.len() + 256);
        let mut at = 0;
        for (i, (span, with)) in self.list.iter().enumerate() {
            // What an alias names is met more than once.
            let mut before = self.list.iter().take(i).rev().take_while(|(other, _)| other == span);
            if span.start < at || before.any(|(_, other)| other == with) {
                continue;
            }
            out.push_str(self.text.get(at..span.start).unwrap_or_default());
            out.push_str(with);
            at = span.end;
        }
        out.push_str(self.text.get(at..).unwrap_or_default());
        out
    }

    /// Another value in place of one.
    pub fn replace(&mut self, old: &Node, new: &Json) {
        let span = self.extent(old);
        if span.start < span.end {
            return self.list.push((span, new.to_string()));
        }
        // A value that is not written has the place of its colon.
        let rest = self.text.get(span.start..).unwrap_or_default();
        let behind = rest.trim_start_matches(' ').strip_prefix(':').map_or(0, |behind| rest.len() - behind.len());
        let at = span.start + behind;
        self.list.push((Span::new(at, at), format!(" {new}")));
    }

    /// Sets entries of a map: what is there gets another value, what is not there is new.
    ///
    /// # Errors
    /// When there is no place.
    pub fn set(&mut self, map: &Node, entries: &[(&str, Json)]) -> Result<(), Stuck> {
        let mut new = Vec::new();
        for (key, value) in entries {
            match map.at(&[key]) {
                Some(old) => self.replace(old, value),
                None => new.push((*key, value)),
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        let Some(known) = map.map().filter(|known| !known.entries.is_empty()) else {
            let all: serde_json::Map<String, Json> =
                new.into_iter().map(|(key, value)| (key.to_owned(), value.clone())).collect();
            self.replace(map, &Json::from(all));
            return Ok(());
        };
        let is_flow = self.is_flow(map);
        let places = known.entries.iter().map(|entry| entry.span.start);
        let (at, column) =
            places.filter_map(|at| Some((at, self.column(at)?))).next().ok_or(Stuck).or_else(|stuck| {
                let first = known.entries.first().filter(|_| is_flow).ok_or(stuck)?;
                Ok((first.span.start, 0))
            })?;
        for (key, value) in new {
            let key = Json::from(key);
            let text = if is_flow { format!("{key}: {value}, ") } else { format!("{key}: {value}\n{:column$}", "") };
            self.list.push((Span::new(at, at), text));
        }
        Ok(())
    }

    /// Puts items into a list, before one of it.
    ///
    /// # Errors
    /// When there is no place.
    pub fn insert(&mut self, list: &Node, before: usize, items: &[Json]) -> Result<(), Stuck> {
        let Some(item) = list.list().and_then(|known| known.get(before)) else {
            self.replace(list, &Json::from(items.to_vec()));
            return Ok(());
        };
        let is_flow = self.is_flow(list);
        let start = item.span.start;
        let dash = if is_flow { start } else { self.dash(start).ok_or(Stuck)? };
        let column = dash - self.line(dash);
        for item in items {
            let edit = if is_flow {
                (Span::new(start, start), format!("{item}, "))
            } else {
                (Span::new(dash + 1, dash + 1), format!(" {item}\n{:column$}-", ""))
            };
            self.list.push(edit);
        }
        Ok(())
    }

    /// Takes an entry of a map and writes another in its place.
    pub fn swap(&mut self, entry: &kiln_yaml::node::Entry, key: &str, value: &Json) {
        let span = Span::new(entry.span.start, self.extent(&entry.value).end);
        self.list.push((span, format!("{}: {value}", Json::from(key))));
    }

    /// Takes over the changes of a text that is a string of this one.
    pub fn within(&mut self, string: &Node, inner: Edits<'_>) {
        let places = Places::of(string, self.text);
        if inner.list.is_empty() {
            return;
        }
        if places.is_exact() && inner.list.iter().all(|(_, with)| !with.contains('\n')) {
            self.list.extend(inner.list.into_iter().map(|(span, with)| (places.outer(span), with)));
        } else {
            self.replace(string, &Json::from(inner.done()));
        }
    }

    /// Whether a list or a map is written in brackets.
    fn is_flow(&self, node: &Node) -> bool {
        let (bracket, first) = match &node.value {
            Value::List(items) => (b'[', items.first().map(|item| item.span.start)),
            Value::Map(map) => (b'{', map.entries.first().map(|entry| entry.span.start)),
            _ => return false,
        };
        // A block starts where the first part of it does, which may be in brackets.
        self.text.as_bytes().get(node.span.start) == Some(&bracket) && first != Some(node.span.start)
    }

    /// From the start of a value to the end of what is written of it: a block's own place ends with the lines behind it.
    fn extent(&self, node: &Node) -> Span {
        let last = match &node.value {
            _ if self.is_flow(node) => None,
            Value::Map(map) => map.entries.last().map(|entry| &entry.value),
            Value::List(items) => items.last(),
            _ => None,
        };
        let end = last.map_or(node.span.end, |last| self.extent(last).end);
        let written = self.text.get(node.span.start..end).unwrap_or_default();
        Span::new(node.span.start, node.span.start + written.trim_end().len())
    }

    /// Where the line starts that a place is in.
    fn line(&self, at: usize) -> usize {
        self.text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |i| i + 1)
    }

    /// The column of a place that nothing but spaces and dashes are before.
    fn column(&self, at: usize) -> Option<usize> {
        let before = self.text.get(self.line(at)..at)?;
        before.bytes().all(|byte| matches!(byte, b' ' | b'-')).then_some(before.len())
    }

    /// The dash of an item.
    fn dash(&self, item: usize) -> Option<usize> {
        let before = self.text.get(..item)?.trim_end_matches([' ', '\n', '\r']);
        let dash = before.len().checked_sub(1)?;
        (before.ends_with('-') && self.column(dash).is_some()).then_some(dash)
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifest::tests::json;
    use super::*;

    fn root(text: &str) -> Node {
        kiln_yaml::parse(text).remove(0).root.unwrap()
    }

    /// A text as it is read again; numbers are texts.
    fn again(text: &str) -> Json {
        json(&root(text))
    }

    #[test]
    fn what_is_new_is_where_it_belongs_however_the_text_is_written() {
        let new = [("new", Json::from("n: \"1\""))];
        for text in [
            "a: 1\nb: 2\n",
            "{a: 1, b: 2}\n",
            "{\n  a: 1,\n  b: 2}",
            "a: 1 # say: b\n\nb: 2",
            "# first\n\"a\": 1\r\nb: 2\r\n",
            "&x a: 1\nb: 2\n",
        ] {
            let mut edits = Edits::of(text);
            edits.set(&root(text), &[("a", Json::from(vec![3])), new[0].clone()]).unwrap();
            let made = edits.done();
            let wanted = serde_json::json!({"a": ["3"], "b": "2", "new": "n: \"1\""});
            assert_eq!(again(&made), wanted, "{text:?} is {made:?}");
        }
        for (text, wanted) in [("m:\n", r#"{"m":{"new":"n: \"1\""}}"#), ("m: {} # x\n", r#"{"m":{"new":"n: \"1\""}}"#)]
        {
            let mut edits = Edits::of(text);
            edits.set(root(text).at(&["m"]).unwrap(), &new).unwrap();
            assert_eq!(again(&edits.done()).to_string(), wanted);
        }
    }

    #[test]
    fn items_are_put_before_others_however_a_list_is_written() {
        for text in [
            "l:\n- a: 1\n  b: 2\n- c\n",
            "l:\n    -   a: 1\n        b: 2\n    - c\n",
            "l:\n  -\n    a: 1\n    b: 2\n  - c",
            "l: [{a: 1, b: 2}, c]\n",
            "- - 1\n",
        ] {
            let text = if text.starts_with("- -") { "l:\n- {a: 1, b: 2}\n- c" } else { text };
            let mut edits = Edits::of(text);
            let read = root(text);
            let list = read.at(&["l"]).unwrap();
            edits.insert(list, 0, &[serde_json::json!({"x": "1"}), Json::from("y")]).unwrap();
            edits.insert(list, 1, &[Json::from("z")]).unwrap();
            let made = edits.done();
            let wanted = serde_json::json!({"l": [{"x": "1"}, "y", {"a": "1", "b": "2"}, "z", "c"]});
            assert_eq!(again(&made), wanted, "{text:?} is {made:?}");
        }
        for text in ["l: []\n", "l:\n", "l: ~"] {
            let mut edits = Edits::of(text);
            edits.insert(root(text).at(&["l"]).unwrap(), 0, &[Json::from("x")]).unwrap();
            assert_eq!(again(&edits.done()), serde_json::json!({"l": ["x"]}), "{text:?}");
        }
        let text = "l:\n- &a b\n- # why\n  c: 1\n";
        let mut edits = Edits::of(text);
        assert_eq!(edits.insert(root(text).at(&["l"]).unwrap(), 1, &[Json::from("x")]), Err(Stuck), "a comment");
        assert_eq!(edits.done(), text);
    }

    #[test]
    fn values_end_where_their_text_ends() {
        let text = "a:\n  b:\n    c: 1\n\n  # of d\nd: 2\n";
        let mut edits = Edits::of(text);
        let read = root(text);
        edits.swap(read.map().unwrap().entry("a").unwrap(), "x", &Json::from(9));
        assert_eq!(edits.done(), "\"x\": 9\n\n  # of d\nd: 2\n");
        let text = "s: |\n  {\"a\": 1}\nt: \"{\\\"a\\\": 1}\"\n";
        let read = root(text);
        let mut edits = Edits::of(text);
        for key in ["s", "t"] {
            let string = read.at(&[key]).unwrap();
            let mut inner = Edits::of(string.text().unwrap());
            inner.set(&root(string.text().unwrap()), &[("a", Json::from("z"))]).unwrap();
            edits.within(string, inner);
        }
        assert_eq!(edits.done(), "s: |\n  {\"a\": \"z\"}\nt: \"{\\\"a\\\": \\\"z\\\"}\"\n");
        // An alias is one place.
        let text = "a: &x [1]\nb: *x\n";
        let read = root(text);
        let mut edits = Edits::of(text);
        for key in ["a", "b"] {
            edits.insert(read.at(&[key]).unwrap(), 0, &[Json::from(0)]).unwrap();
        }
        assert_eq!(edits.done(), "a: &x [0, 1]\nb: *x\n");
    }
}
