//! Arguments of programs, which every user of a machine can read while they run: what is sensitive goes another way.

use std::collections::BTreeMap;

use crate::error::{NodeError, Result};
use crate::ui::Masks;

/// How ansible is given variables.
const EXTRA: [&str; 2] = ["-e", "--extra-vars"];

/// Refuses arguments with a sensitive value; `hint` says how else it can be given.
///
/// # Errors
/// When one has such a value.
pub fn refuse(whose: &str, words: &[String], masks: &Masks, hint: &str) -> Result<()> {
    match words.iter().any(|word| masks.is_plainly_in(word.as_bytes())) {
        false => Ok(()),
        true => Err(NodeError::Unsupported {
            what: format!("a sensitive value would be among the arguments of {whose}, which every user can read"),
            hint: Some(hint.to_owned()),
        }),
    }
}

/// Ansible's arguments with the sensitive variables among them in a file: the arguments, in which `@path` stands for it,
/// and its text, if there are any.
///
/// # Errors
/// When a sensitive value is in another argument, or not among variables that can be told apart.
pub fn of_ansible(words: Vec<String>, masks: &Masks, path: &str) -> Result<(Vec<String>, Option<String>)> {
    const HINT: &str = "give it as a variable, -e NAME=VALUE, or in the environment";
    let (mut public, mut hidden) = (Vec::new(), BTreeMap::new());
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let glued = EXTRA.iter().find_map(|name| word.strip_prefix(name)?.strip_prefix(['=', ' ']));
        let (given, value) = match (EXTRA.contains(&&*word), glued) {
            (true, _) => match words.next() {
                Some(value) => (vec![word, value.clone()], value),
                None => (vec![word], String::new()),
            },
            (false, Some(value)) => (vec![word.clone()], value.to_owned()),
            (false, None) => {
                refuse("ansible", std::slice::from_ref(&word), masks, HINT)?;
                public.push(word);
                continue;
            }
        };
        if !masks.is_in(value.as_bytes()) {
            public.extend(given);
        } else if let Some(variables) = variables(value.trim()) {
            hidden.extend(variables);
        } else {
            refuse("ansible", &given, masks, HINT)?;
            public.extend(given);
        }
    }
    if hidden.is_empty() {
        return Ok((public, None));
    }
    public.splice(0..0, ["-e".to_owned(), format!("@{path}")]);
    Ok((public, serde_json::to_string(&hidden).ok()))
}

/// The variables that a value of `-e` gives: an object of JSON, or `name=value` with blanks between.
fn variables(text: &str) -> Option<BTreeMap<String, serde_json::Value>> {
    if text.starts_with('{') {
        return serde_json::from_str(text).ok();
    }
    let pair = |word: String| {
        let (name, value) = word.split_once('=')?;
        let good = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        good.then(|| (name.to_owned(), value.into()))
    };
    shell_words(text)?.into_iter().map(pair).collect()
}

/// The words of a command line in which a shell would put nothing in the place of something.
pub fn shell_words(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' => words.extend(word.take()),
            '\'' => word.get_or_insert_default().push_str(&until(&mut chars, '\'')?),
            '"' => {
                let part = until(&mut chars, '"')?;
                if part.contains(['$', '`', '\\']) {
                    return None;
                }
                word.get_or_insert_default().push_str(&part);
            }
            '\\' => word.get_or_insert_default().push(chars.next()?),
            '$' | '`' | ';' | '&' | '|' | '<' | '>' | '(' | ')' | '*' | '?' | '[' | '~' | '#' | '\n' => return None,
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

/// What stands before the next `end`.
fn until(chars: &mut std::str::Chars<'_>, end: char) -> Option<String> {
    let rest = chars.as_str();
    let (part, after) = rest.split_once(end)?;
    *chars = after.chars();
    Some(part.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Result<(Vec<String>, Option<String>)> {
        let words = words.iter().map(|&word| word.to_owned()).collect();
        of_ansible(words, &Masks::new(["hunter-2", "ab"]), "/f")
    }

    #[test]
    fn sensitive_variables_go_into_a_file() {
        let (words, text) = of(&["-v", "-e", "pw=hunter-2 'q=a b'", "--extra-vars", "x=1"]).unwrap();
        assert_eq!(words, ["-e", "@/f", "-v", "--extra-vars", "x=1"]);
        assert_eq!(text.unwrap(), r#"{"pw":"hunter-2","q":"a b"}"#);
        let (words, text) = of(&["--extra-vars={\"pw\": [\"hunter-2\"]}", "--diff"]).unwrap();
        assert_eq!(words, ["-e", "@/f", "--diff"]);
        assert_eq!(text.unwrap(), r#"{"pw":["hunter-2"]}"#);
        let plain = ["-e", "x=1", "--tags", "a,b"];
        assert_eq!(of(&plain).unwrap(), (plain.map(str::to_owned).to_vec(), None));
    }

    #[test]
    fn what_cannot_go_another_way_is_refused() {
        for words in
            [&["--tags", "hunter-2"][..], &["-e", "@hunter-2"], &["-e", "pw=$(hunter-2)"], &["-e", "'hunter-2"]]
        {
            let error = of(words).unwrap_err().to_string();
            assert!(error.contains("among the arguments of ansible") && !error.contains("hunter"), "{error}");
        }
        // So short a value is in many words by chance.
        assert!(of(&["--tags", "abc"]).is_ok());
        assert_eq!(of(&["-e", "x=ab"]).unwrap().1.unwrap(), r#"{"x":"ab"}"#);
    }

    #[test]
    fn words_are_those_of_a_shell() {
        assert_eq!(shell_words(r#"a  'b c'"d"\ e ''"#).unwrap(), ["a", "b cd e", ""]);
        for text in ["a $x", "\"$x\"", "'open", "a;b", "a\\"] {
            assert_eq!(shell_words(text), None, "{text}");
        }
    }
}
