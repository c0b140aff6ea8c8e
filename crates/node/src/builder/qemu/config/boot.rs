//! What is typed into a machine and what it fetches; and texts that are rendered when the machine is known.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use kiln_packer::config::{Config as Written, Value};
use kiln_packer::fault::Place;
use kiln_packer::fields::Fields;
use kiln_packer::render::Text;
use kiln_vm::boot::{Command, Pace};
use kiln_vm::ports::{self, Range};

use super::hardware::range;
use super::text;
use crate::error::{NodeError, Result};

/// More are not typed or given to qemu.
const MOST: usize = 10_000;

/// A text that is rendered when the machine is known, and where it stands.
pub type Late = Text;

/// What the guest fetches.
#[derive(Debug, Clone)]
pub struct Http {
    /// A directory.
    pub directory: Option<PathBuf>,
    /// Contents by their path.
    pub content: Vec<(String, Late)>,
    /// Where it listens.
    pub address: Option<IpAddr>,
    /// Which ports.
    pub range: Range,
}

pub(super) fn http(f: &Fields<'_>) -> Result<Http> {
    let directory = text(f, "http_directory")?.map(PathBuf::from);
    let content = late_map(f, "http_content")?;
    if let Some(dir) = &directory
        && !dir.is_dir()
    {
        let message = format!("{}: there is no such directory", dir.display());
        return Err(f.fault("http_directory", "NoDirectory", message).into());
    }
    if directory.is_some() && !content.is_empty() {
        let message = "http_content cannot be used in conjunction with http_directory";
        return Err(f.fault("http_content", "BadHttp", message).into());
    }
    let address = match text(f, "http_bind_address")? {
        None => None,
        Some(text) => match text.parse() {
            Ok(address) => Some(address),
            Err(_) => {
                return Err(f.fault("http_bind_address", "BadAddress", format!("`{text}` is no IP address")).into());
            }
        },
    };
    Ok(Http { directory, content, address, range: range(f, "http_port", ports::HTTP)? })
}

pub(super) fn pace(f: &Fields<'_>) -> Result<Pace> {
    let default = Pace::default();
    Ok(Pace {
        key: f.duration("boot_key_interval")?.filter(|t| !t.is_zero()).unwrap_or(default.key),
        group: f.duration("boot_keygroup_interval")?.unwrap_or(default.group),
    })
}

/// A negative time is none.
pub(super) fn boot_wait(f: &Fields<'_>) -> Result<Option<Duration>> {
    match text(f, "boot_wait")? {
        Some(text) if text.starts_with('-') => Ok(Some(Duration::ZERO)),
        _ => Ok(f.duration("boot_wait")?),
    }
}

/// What is typed: texts, or pairs of a text and what it is for.
pub(super) fn boot_command(f: &Fields<'_>, config: &Written) -> Result<Vec<Late>> {
    let steps = lists(f, config, "boot_steps")?;
    let texts = match f.verbatims("boot_command")? {
        Some(_) if !steps.is_empty() => {
            let message = "boot_command and boot_steps cannot both be given";
            return Err(f.fault("boot_steps", "BadBoot", message).into());
        }
        Some(texts) => texts,
        None => steps.into_iter().filter_map(|list| list.into_iter().next()).collect(),
    };
    for text in &texts {
        // What an action will be is not known yet, and it is typed as it comes.
        if let Err(error) = Command::parse(&[without_actions(text.template())]) {
            return Err(text.place().error("BadBoot", error.to_string()).into());
        }
    }
    Ok(texts)
}

/// The text with a letter in the place of each character of an action.
fn without_actions(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, from)) = rest.split_once("{{") {
        let Some((action, after)) = from.split_once("}}") else { break };
        out += before;
        out.extend(std::iter::repeat_n('x', action.chars().count() + 4));
        rest = after;
    }
    out + rest
}

/// Lists of texts, rendered later.
pub(super) fn lists(f: &Fields<'_>, config: &Written, key: &str) -> Result<Vec<Vec<Late>>> {
    let wrong = |place: Place| -> NodeError {
        place.error("WrongType", format!("`{key}` must be a list of lists of texts")).into()
    };
    let Some(node) = config.get(key).filter(|_| f.has(key)) else { return Ok(Vec::new()) };
    let Value::List(items) = &node.value else { return Err(wrong(f.place(key))) };
    if items.len() > MOST {
        return Err(f.fault(key, "TooMany", format!("`{key}` has more than {MOST} entries")).into());
    }
    let mut all = Vec::new();
    for item in items {
        let place = Place::new(config.source(), item.span);
        let Value::List(words) = &item.value else { return Err(wrong(place)) };
        let mut list = Vec::new();
        for word in words {
            let place = Place::new(config.source(), word.span);
            let text = match &word.value {
                Value::String(text) | Value::Number(text) => text.clone(),
                Value::Null => String::new(),
                _ => return Err(wrong(place)),
            };
            list.push(Text::new(text, place, config.scope()));
        }
        all.push(list);
    }
    Ok(all)
}

/// Texts by name, rendered later.
pub(super) fn late_map(f: &Fields<'_>, key: &str) -> Result<Vec<(String, Late)>> {
    let Some(inner) = f.object(key)? else { return Ok(Vec::new()) };
    let mut all = BTreeMap::new();
    for entry in inner.entries() {
        let place = Place::new(inner.source(), entry.node.span);
        let Value::String(text) = &entry.node.value else {
            return Err(place.error("WrongType", format!("`{key}.{}` must be a text", entry.key)).into());
        };
        all.insert(entry.key.clone(), Text::new(text.clone(), place, inner.scope()));
    }
    Ok(all.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::without_actions;

    #[test]
    fn actions_are_letters_until_they_are_known() {
        assert_eq!(without_actions("a{{ .X }}<enter>{{b}}"), "axxxxxxxx<enter>xxxxx");
        assert_eq!(without_actions("<wait>{{ open"), "<wait>{{ open");
    }
}
