//! Paragraphs of `Name: value` lines, parted by empty lines: control files of Debian, of apk, and mail headers.

/// A paragraph, over the text it is in.
#[derive(Debug, Clone, Copy)]
pub struct Paragraph<'a>(&'a str);

impl<'a> Paragraph<'a> {
    /// The whole of a text as one paragraph.
    pub fn of(text: &'a str) -> Paragraph<'a> {
        Paragraph(text)
    }

    /// Its fields: name, and value with its further lines, which begin with white space.
    pub fn fields(self) -> Fields<'a> {
        Fields(self.0)
    }

    /// The value of the first field of exactly this name.
    pub fn exact(self, name: &str) -> Option<&'a str> {
        self.fields().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// The value of the first field of this name in any case; `None` also where it is empty.
    pub fn get(self, name: &str) -> Option<&'a str> {
        let mut fields = self.fields();
        fields.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value).filter(|value| !value.is_empty())
    }

    /// As [`Paragraph::get`], and only the first line.
    pub fn line(self, name: &str) -> Option<&'a str> {
        self.get(name).and_then(|value| value.lines().next()).map(str::trim).filter(|line| !line.is_empty())
    }
}

/// The paragraphs of a text.
pub fn paragraphs(text: &str) -> impl Iterator<Item = Paragraph<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let mut start = 0;
        // Empty lines in front.
        while let Some(line) = rest[start..].split_inclusive('\n').next().filter(|line| line.trim().is_empty()) {
            start += line.len();
        }
        rest = &rest[start..];
        if rest.is_empty() {
            return None;
        }
        let length = rest.split_inclusive('\n').take_while(|line| !line.trim().is_empty()).map(str::len).sum();
        let (paragraph, after) = rest.split_at(length);
        rest = after;
        Some(Paragraph(paragraph))
    })
}

/// The fields of a [`Paragraph`].
#[derive(Debug, Clone)]
pub struct Fields<'a>(&'a str);

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut lines = self.0.split_inclusive('\n');
            let first = lines.next()?;
            let more: usize = lines.take_while(|line| line.starts_with([' ', '\t'])).map(str::len).sum();
            let (field, rest) = self.0.split_at(first.len() + more);
            self.0 = rest;
            // A line without a colon is no field, and none of the formats has use for it.
            if let Some((name, value)) = field.split_once(':')
                && !name.contains('\n')
            {
                return Some((name.trim(), value.trim()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_have_fields_of_several_lines() {
        let text = "\n\nA: 1\nB: x\n y\n\tz\nnoise\n\n \nA:2\r\na: 3";
        let all: Vec<Vec<_>> = paragraphs(text).map(|p| p.fields().collect()).collect();
        assert_eq!(all, [vec![("A", "1"), ("B", "x\n y\n\tz")], vec![("A", "2"), ("a", "3")]]);
        let second = paragraphs(text).nth(1).unwrap();
        assert_eq!((second.exact("a"), second.get("a"), second.get("b")), (Some("3"), Some("2"), None));
    }
}
