//! XML answers, read into a small tree. No document type, no entities but the predefined ones, limits on everything.

use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesRef, Event};

/// No answer of a store is nested deeper.
const MAX_DEPTH: usize = 16;
/// A page of a listing has 1000 objects with about 20 elements each.
const MAX_ELEMENTS: usize = 100_000;

/// An element: its name without prefix, its own text, what is in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// Its name.
    pub name: String,
    /// Its text.
    pub text: String,
    /// What is in it, in order.
    pub children: Vec<Element>,
}

impl Element {
    /// The first child of that name.
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text of the first child of that name, without space around it.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.trim())
    }
}

/// The root of a document.
///
/// # Errors
/// What is wrong, without quoting anything.
pub fn parse(bytes: &[u8]) -> Result<Element, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
    let mut reader = Reader::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut open: Vec<Element> = Vec::new();
    let mut elements = 0;
    loop {
        let event = reader.read_event().map_err(|_| "it is not well-formed XML")?;
        let closed = match event {
            Event::Start(ref tag) | Event::Empty(ref tag) => {
                elements += 1;
                if elements > MAX_ELEMENTS || open.len() >= MAX_DEPTH {
                    return Err("it has too many elements");
                }
                let name = String::from_utf8_lossy(tag.local_name().as_ref()).into_owned();
                open.push(Element { name, ..Element::default() });
                matches!(event, Event::Empty(_))
            }
            Event::End(_) => true,
            Event::Text(piece) => add(&mut open, &piece.decode().map_err(|_| "it is not UTF-8")?)?,
            Event::CData(piece) => add(&mut open, &piece.decode().map_err(|_| "it is not UTF-8")?)?,
            Event::GeneralRef(entity) => add(&mut open, &resolve(&entity)?)?,
            Event::DocType(_) => return Err("it has a document type"),
            Event::Eof => return Err("it ends too early"),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => false,
        };
        if closed {
            let Some(element) = open.pop() else { return Err("it is not well-formed XML") };
            match open.last_mut() {
                Some(parent) => parent.children.push(element),
                None => return Ok(element),
            }
        }
    }
}

/// Adds text to the innermost element. Never closes one.
fn add(open: &mut [Element], text: &str) -> Result<bool, &'static str> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err("it begins with something else than an element"),
    }
    Ok(false)
}

fn resolve(entity: &BytesRef<'_>) -> Result<String, &'static str> {
    const WHY: &str = "it has an unknown entity";
    if let Some(character) = entity.resolve_char_ref().map_err(|_| WHY)? {
        return Ok(character.to_string());
    }
    let name = entity.decode().map_err(|_| WHY)?;
    resolve_xml_entity(&name).map(str::to_owned).ok_or(WHY)
}

/// Text as it may stand in an element.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_becomes_a_tree() {
        let root = parse(
            b"\xEF\xBB\xBF<?xml version=\"1.0\"?>\n<!-- c --><s:R xmlns:s=\"u\"><A>1 &amp; <![CDATA[<2>]]>&#x41;</A><B/><C><A>x</A></C></s:R>tail",
        )
        .unwrap();
        assert_eq!((&*root.name, root.text_of("A")), ("R", Some("1 & <2>A")));
        assert_eq!(root.text_of("B"), Some(""));
        assert_eq!(root.child("C").unwrap().text_of("A"), Some("x"));
        assert_eq!(root.text_of("D"), None);
        assert_eq!(parse(format!("<a>{}</a>", escape("<&>\"'é")).as_bytes()).unwrap().text, "<&>\"'é");
    }

    #[test]
    fn hostile_documents_are_refused() {
        for (text, want) in [
            ("", "too early"),
            ("plain", "something else"),
            ("<a>", "too early"),
            ("</a>", "well-formed"),
            ("<a></b>", "well-formed"),
            ("<a", "well-formed"),
            ("<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>", "document type"),
            ("<a>&b;</a>", "unknown entity"),
            ("<a>&#x110000;</a>", "unknown entity"),
            (&"<a>".repeat(17), "too many"),
            (&format!("<a>{}</a>", "<b/>".repeat(MAX_ELEMENTS)), "too many"),
        ] {
            let why = parse(text.as_bytes()).unwrap_err();
            assert!(why.contains(want), "{}: {why}", &text[..text.len().min(40)]);
        }
        assert_eq!(parse(b"<a>\xff</a>").unwrap_err(), "it is not UTF-8");
    }
}
