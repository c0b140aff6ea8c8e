//! The decoder of configurations: strict about keys, as lenient about types as Packer is.
//!
//! | asked for | taken | because |
//! |---|---|---|
//! | text | also a number, true and false (`1`, `0`) | mapstructure's weak decoding |
//! | boolean | also a number, and `true`, `false`, `t`, `f`, `1`, `0`, the empty text | the same; the seed writes `"true"` |
//! | whole number | also a text that is one, true and false | the same |
//! | duration | a text such as `1h5m`; a number is nanoseconds | Packer's decode hook |
//! | list | also one value; a text is split at commas, the empty one is no list | Packer's decode hook |
//! | object | also a list of objects, merged | weak decoding; HCL1 made such lists |

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use kiln_spec::duration;

use crate::config::{Config, Entry, Node, Value};
use crate::fault::{Fault, Place};
use crate::render::Text;

/// A decoder of one [`Config`].
#[derive(Debug)]
pub struct Fields<'a> {
    config: &'a Config,
    asked: RefCell<BTreeSet<String>>,
}

impl<'a> Fields<'a> {
    /// A decoder which has been asked nothing yet.
    pub fn new(config: &'a Config) -> Fields<'a> {
        Fields { config, asked: RefCell::default() }
    }

    /// The value of `key` as written; null is as good as absent.
    fn node(&self, key: &str) -> Option<&'a Node> {
        self.asked.borrow_mut().insert(key.to_owned());
        self.config.get(key).filter(|node| node.value != Value::Null)
    }

    fn place_of(&self, node: &Node) -> Place {
        Place::new(self.config.source(), node.span)
    }

    fn wrong(&self, key: &str, node: &Node, wanted: &str) -> Fault {
        self.place_of(node)
            .error("WrongType", format!("`{key}` must be {wanted}"))
            .label(format!("this is {}", node.value.noun()))
    }

    /// Whether `key` is there.
    pub fn has(&self, key: &str) -> bool {
        self.node(key).is_some()
    }

    /// Where the value of `key` stands, or else the whole configuration.
    pub fn place(&self, key: &str) -> Place {
        self.node(key).map_or_else(|| self.config.place(), |node| self.place_of(node))
    }

    /// An error about the value of `key`, at its place.
    pub fn fault(&self, key: &str, code: &'static str, message: impl Into<String>) -> Fault {
        self.place(key).error(code, message)
    }

    /// That `key` is missing.
    pub fn missing(&self, key: &str) -> Fault {
        self.config.place().error("MissingKey", format!("`{key}` is required"))
    }

    fn render(&self, text: &str, node: &Node) -> Result<String, Fault> {
        self.config.scope().render(text, &[], &self.place_of(node))
    }

    /// A scalar as text, rendered.
    fn text(&self, key: &str, node: &Node) -> Result<String, Fault> {
        match &node.value {
            Value::String(text) => self.render(text, node),
            Value::Number(number) => Ok(number.clone()),
            Value::Bool(yes) => Ok(if *yes { "1" } else { "0" }.to_owned()),
            Value::Null => Ok(String::new()),
            Value::List(_) | Value::Object(_) => Err(self.wrong(key, node, "a text")),
        }
    }

    /// A text, rendered.
    ///
    /// # Errors
    /// When it is none, or cannot be rendered.
    pub fn string(&self, key: &str) -> Result<Option<String>, Fault> {
        self.node(key).map(|node| self.text(key, node)).transpose()
    }

    /// A text, rendered, which must be there and not be empty.
    ///
    /// # Errors
    /// When it is not, or cannot be rendered.
    pub fn required(&self, key: &str) -> Result<String, Fault> {
        match self.string(key)? {
            None => Err(self.missing(key)),
            Some(text) if text.is_empty() => Err(self.fault(key, "EmptyValue", format!("`{key}` must not be empty"))),
            Some(text) => Ok(text),
        }
    }

    /// A text to render later, when what it mentions (`.Path`, `.Vars`) is known.
    ///
    /// # Errors
    /// When it is no text.
    pub fn verbatim(&self, key: &str) -> Result<Option<Text>, Fault> {
        self.node(key).map(|node| self.unrendered(key, node)).transpose()
    }

    /// A list of texts to render later.
    ///
    /// # Errors
    /// When it is none.
    pub fn verbatims(&self, key: &str) -> Result<Option<Vec<Text>>, Fault> {
        let Some(node) = self.node(key) else { return Ok(None) };
        match &node.value {
            Value::List(items) => {
                items.iter().map(|item| self.unrendered(key, item)).collect::<Result<_, _>>().map(Some)
            }
            _ => self.unrendered(key, node).map(|text| Some(vec![text])),
        }
    }

    fn unrendered(&self, key: &str, node: &Node) -> Result<Text, Fault> {
        let template = match &node.value {
            Value::String(text) => text.clone(),
            _ => self.text(key, node)?,
        };
        Ok(Text::new(template, self.place_of(node), self.config.scope()))
    }

    /// A list of texts, each rendered.
    ///
    /// # Errors
    /// When it is none, or one cannot be rendered.
    pub fn strings(&self, key: &str) -> Result<Option<Vec<String>>, Fault> {
        let Some(node) = self.node(key) else { return Ok(None) };
        match &node.value {
            Value::List(items) => items.iter().map(|item| self.text(key, item)).collect::<Result<_, _>>().map(Some),
            Value::String(_) => {
                let text = self.text(key, node)?;
                Ok(Some(if text.is_empty() { Vec::new() } else { text.split(',').map(str::to_owned).collect() }))
            }
            Value::Object(_) => Err(self.wrong(key, node, "a list of texts")),
            _ => Ok(Some(vec![self.text(key, node)?])),
        }
    }

    /// A boolean.
    ///
    /// # Errors
    /// When it is none.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, Fault> {
        let Some(node) = self.node(key) else { return Ok(None) };
        let wrong = || self.wrong(key, node, "true or false");
        match &node.value {
            Value::Bool(yes) => Ok(Some(*yes)),
            Value::Number(number) => number.parse::<f64>().map(|number| Some(number != 0.0)).map_err(|_| wrong()),
            Value::String(text) => match self.render(text, node)?.as_str() {
                "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Some(true)),
                "" | "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Some(false)),
                other => Err(wrong().label(format!("this is `{other}`"))),
            },
            _ => Err(wrong()),
        }
    }

    /// A whole number.
    ///
    /// # Errors
    /// When it is none, or does not fit.
    pub fn int(&self, key: &str) -> Result<Option<i64>, Fault> {
        self.node(key).map(|node| self.whole(key, node)).transpose()
    }

    /// A whole number that is not negative.
    ///
    /// # Errors
    /// When it is none, or does not fit.
    pub fn uint(&self, key: &str) -> Result<Option<u64>, Fault> {
        let Some(number) = self.int(key)? else { return Ok(None) };
        let negative = |_| self.fault(key, "OutOfRange", format!("`{key}` must not be negative"));
        u64::try_from(number).map(Some).map_err(negative)
    }

    /// A list of whole numbers.
    ///
    /// # Errors
    /// When it is none, or one does not fit.
    pub fn ints(&self, key: &str) -> Result<Option<Vec<i64>>, Fault> {
        let Some(node) = self.node(key) else { return Ok(None) };
        match &node.value {
            Value::List(items) => items.iter().map(|item| self.whole(key, item)).collect::<Result<_, _>>().map(Some),
            Value::String(_) => {
                let texts = self.strings(key)?.unwrap_or_default();
                let wrong = |_| self.wrong(key, node, "a list of whole numbers");
                texts.iter().map(|text| text.parse().map_err(wrong)).collect::<Result<_, _>>().map(Some)
            }
            _ => self.whole(key, node).map(|number| Some(vec![number])),
        }
    }

    fn whole(&self, key: &str, node: &Node) -> Result<i64, Fault> {
        let wrong = || self.wrong(key, node, "a whole number");
        match &node.value {
            Value::Number(number) => whole(number).ok_or_else(wrong),
            Value::Bool(yes) => Ok(i64::from(*yes)),
            Value::String(text) => {
                let text = self.render(text, node)?;
                if text.is_empty() {
                    return Ok(0);
                }
                whole(&text).ok_or_else(|| wrong().label(format!("this is `{text}`")))
            }
            _ => Err(wrong()),
        }
    }

    /// A duration: `10s`, `1h5m`; a number is nanoseconds.
    ///
    /// # Errors
    /// When it is none, or negative.
    pub fn duration(&self, key: &str) -> Result<Option<Duration>, Fault> {
        let Some(node) = self.node(key) else { return Ok(None) };
        let nanos = match &node.value {
            Value::Number(number) => whole(number).ok_or_else(|| self.wrong(key, node, "a duration such as `10s`"))?,
            Value::String(text) => {
                let text = self.render(text, node)?;
                let wrong =
                    |error: duration::DurationError| self.fault(key, "BadDuration", format!("`{key}`: {error}"));
                duration::parse(&text).map_err(wrong)?
            }
            _ => return Err(self.wrong(key, node, "a duration such as `10s`")),
        };
        let negative = |_| self.fault(key, "OutOfRange", format!("`{key}` must not be negative"));
        u64::try_from(nanos).map(|nanos| Some(Duration::from_nanos(nanos))).map_err(negative)
    }

    /// Texts by name, in the order written, rendered.
    ///
    /// # Errors
    /// When it is no object of texts, or one cannot be rendered.
    pub fn map(&self, key: &str) -> Result<Option<Vec<(String, String)>>, Fault> {
        let Some(entries) = self.entries(key)? else { return Ok(None) };
        let pair = |entry: &Entry| Ok((entry.key.clone(), self.text(&format!("{key}.{}", entry.key), &entry.node)?));
        entries.into_iter().map(pair).collect::<Result<_, _>>().map(Some)
    }

    /// The entries of an object, or of a list of them.
    fn entries(&self, key: &str) -> Result<Option<Vec<&'a Entry>>, Fault> {
        let Some(node) = self.node(key) else { return Ok(None) };
        match &node.value {
            Value::Object(entries) => Ok(Some(entries.iter().collect())),
            Value::List(items) => {
                let mut all = Vec::new();
                for item in items {
                    let Value::Object(entries) = &item.value else { return Err(self.wrong(key, item, "an object")) };
                    all.extend(entries);
                }
                Ok(Some(all))
            }
            _ => Err(self.wrong(key, node, "an object")),
        }
    }

    /// An object, to be decoded with its own [`Fields`].
    ///
    /// # Errors
    /// When it is none.
    pub fn object(&self, key: &str) -> Result<Option<Config>, Fault> {
        let Some(entries) = self.entries(key)? else { return Ok(None) };
        let span = self.place(key).span;
        let entries = entries.into_iter().cloned().collect();
        Ok(Some(Config::new(entries, self.config.source(), span, self.config.scope())))
    }

    /// A list of objects; one alone is a list of one.
    ///
    /// # Errors
    /// When it is none.
    pub fn objects(&self, key: &str) -> Result<Option<Vec<Config>>, Fault> {
        let Some(node) = self.node(key) else { return Ok(None) };
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let object = |item: &Node| match &item.value {
            Value::Object(entries) => {
                Ok(Config::new(entries.clone(), self.config.source(), item.span, self.config.scope()))
            }
            _ => Err(self.wrong(key, item, "an object")),
        };
        items.iter().map(object).collect::<Result<_, _>>().map(Some)
    }

    /// Any value, with every text in it rendered.
    ///
    /// # Errors
    /// When a text cannot be rendered.
    pub fn value(&self, key: &str) -> Result<Option<Node>, Fault> {
        let Some(node) = self.node(key) else { return Ok(None) };
        self.config.scope().node(node, self.config.source()).map(Some)
    }

    /// Says that `keys` exist and mean nothing here: they are no error in [`Fields::finish`].
    pub fn ignore(&self, keys: &[&str]) {
        self.asked.borrow_mut().extend(keys.iter().map(|&key| key.to_owned()));
    }

    /// Every key that nobody asked for, with its place.
    pub fn unread(&self) -> Vec<(String, Place)> {
        let asked = self.asked.borrow();
        let unread = self.config.entries().iter().filter(|entry| !asked.contains(&entry.key));
        unread.map(|entry| (entry.key.clone(), Place::new(self.config.source(), entry.span))).collect()
    }

    /// Every key that nobody asked for, as mistakes.
    pub fn unknown(&self) -> Vec<Fault> {
        let asked = self.asked.borrow();
        let unknown = self.config.entries().iter().filter(|entry| !asked.contains(&entry.key));
        unknown
            .map(|entry| {
                Place::new(self.config.source(), entry.span)
                    .error("UnknownKey", format!("unknown key `{}`", entry.key))
                    .label("nobody reads it")
                    .suggest(&entry.key, asked.iter().map(String::as_str))
            })
            .collect()
    }

    /// The end of decoding.
    ///
    /// # Errors
    /// When a key is left that nobody asked for: the first; the others are in its notes.
    pub fn finish(self) -> Result<(), Fault> {
        let mut unknown = self.unknown().into_iter();
        let Some(first) = unknown.next() else { return Ok(()) };
        Err(unknown.fold(first, |first, other| first.note(other.to_string())))
    }
}

/// A whole number, also as `1e3` or `10.0`.
fn whole(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse::<i64>() {
        return Some(number);
    }
    let float: f64 = text.parse().ok()?;
    // Beyond 2^53 a float is not the number that was written.
    #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
    (float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0).then_some(float as i64)
}
