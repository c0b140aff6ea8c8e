//! `-machine-readable`: one record a line, `time,target,type,data…`.

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The build it is about; empty when it is about none.
    pub target: String,
    /// Its kind, such as `ui` or `artifact-count`.
    pub kind: String,
    /// Its data.
    pub data: Vec<String>,
}

impl Record {
    /// A record about no build.
    pub fn new<'a>(kind: &str, data: impl IntoIterator<Item = &'a str>) -> Record {
        let data = data.into_iter().map(str::to_owned).collect();
        Record { target: String::new(), kind: kind.to_owned(), data }
    }

    /// The same about the build `target`.
    #[must_use]
    pub fn of(mut self, target: &str) -> Record {
        target.clone_into(&mut self.target);
        self
    }
}

/// A record as its line, which ends in a newline; `now` in seconds since 1970.
pub fn line(now: i64, record: &Record) -> String {
    let escape = |text: &str| text.replace(',', "%!(PACKER_COMMA)").replace('\r', "\\r").replace('\n', "\\n");
    let data: String = record.data.iter().map(|datum| format!(",{}", escape(datum))).collect();
    format!("{now},{},{}{data}\n", escape(&record.target), escape(&record.kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_in_data_are_escaped() {
        let record = Record::new("ui", ["say", "a, b\nc\r"]).of("qemu");
        assert_eq!(line(7, &record), "7,qemu,ui,say,a%!(PACKER_COMMA) b\\nc\\r\n");
    }
}
