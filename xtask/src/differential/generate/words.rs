//! Values: literals, quotes, escapes and expansions, in all forms.

use super::Generator;

/// Names of variables, those of the bases and of the frontend among them.
pub(super) const NAMES: [&str; 12] =
    ["A", "B", "C", "V", "G", "EMPTY", "PATH", "UNDEF", "TARGETARCH", "TARGETOS", "a", "HOME"];
const LITERALS: [&str; 16] =
    ["x", "foo", "a1", "bar.b", "/p", "a-b", "é", "%", "a=b", "1", "0", "x*", "a:b", "~", "a/b/a", "#h"];
const PATTERNS: [&str; 12] = ["a", "f*", "*o", "?", "/", "*", "o", "x", "b*", "*/", "a?", "\\*"];

impl Generator {
    /// A plain text.
    pub(super) fn literal(&mut self) -> String {
        (*self.random.pick(&LITERALS)).to_owned()
    }

    /// A word without spaces, as it may stand in ENV, ARG and LABEL.
    pub(super) fn value(&mut self) -> String {
        let parts = *self.random.weighted(&[(1, 0), (50, 1), (30, 2), (15, 3), (4, 5)]);
        (0..parts).map(|_| self.part()).collect()
    }

    fn part(&mut self) -> String {
        match self.random.below(20) {
            0..=7 => self.literal(),
            8..=13 => self.expansion(0),
            14..=15 => {
                let inner = [self.literal(), self.expansion(0), " ".to_owned(), self.escape(true)];
                let taken: String = inner.iter().filter(|_| self.random.chance(60)).map(String::as_str).collect();
                format!("\"{taken}\"")
            }
            16 => format!("'{}${} \"'", self.literal(), self.random.pick(&NAMES)),
            17 => format!("'{}'", self.literal()),
            _ => self.escape(false),
        }
    }

    fn escape(&mut self, quoted: bool) -> String {
        let inside = ["\\$A", "\\\"", "\\\\x", "\\n", "\\'", "\\${B}"];
        let outside = ["\\$A", "\\\"", "\\\\x", "\\ ", "\\n", "\\'", "\\${B}", "\\=", "\\#"];
        (*if quoted { self.random.pick(&inside) } else { self.random.pick(&outside) }).to_owned()
    }

    /// A use of a variable.
    pub(super) fn expansion(&mut self, depth: usize) -> String {
        let name = *self.random.pick(&NAMES);
        let word = |g: &mut Generator| {
            if depth < 2 && g.random.chance(30) { g.expansion(depth + 1) } else { g.literal() }
        };
        match self.random.below(40) {
            0..=9 => format!("${name}"),
            10..=19 => format!("${{{name}}}"),
            20..=22 => format!("${{{name}:-{}}}", word(self)),
            23..=24 => format!("${{{name}-{}}}", word(self)),
            25..=26 => format!("${{{name}:+{}}}", word(self)),
            27..=28 => format!("${{{name}+{}}}", word(self)),
            29 if self.random.chance(30) => format!("${{A:?{}}}", word(self)),
            30..=31 => format!("${{{name}#{}}}", self.random.pick(&PATTERNS)),
            32 => format!("${{{name}##{}}}", self.random.pick(&PATTERNS)),
            33..=34 => format!("${{{name}%{}}}", self.random.pick(&PATTERNS)),
            35 => format!("${{{name}%%{}}}", self.random.pick(&PATTERNS)),
            36..=37 => format!("${{{name}/{}/{}}}", self.random.pick(&PATTERNS), word(self)),
            38 => format!("${{{name}//{}/{}}}", self.random.pick(&PATTERNS), word(self)),
            _ => "$".to_owned(),
        }
    }

    /// `NAME=value`, several of them; now and then with quotes or spaces around.
    pub(super) fn pairs(&mut self, names: &[&str]) -> String {
        let count = *self.random.weighted(&[(60, 1), (25, 2), (15, 3)]);
        let pair = |g: &mut Generator| format!("{}={}", g.random.pick(names), g.value());
        let pairs: Vec<String> = (0..count).map(|_| pair(self)).collect();
        let between = if self.random.chance(15) { " \\\n   " } else { " " };
        pairs.join(between)
    }
}
