//! Which rules apply: `skip=…;error=true;experimental=…`, from the `# check=` directive or the build argument
//! `BUILDKIT_DOCKERFILE_CHECK`, which takes its place. A `# check=` comment right above an instruction adds to what is
//! skipped there.

use std::collections::BTreeSet;

use kiln_spec::ast::Dockerfile;
use kiln_spec::diag::{Diagnostic, did_you_mean};
use kiln_spec::source::{Span, Word};

use super::{RULES, Rule};
use crate::options::Options;

/// The build argument.
pub const BUILD_ARG: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// A choice of rules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Chosen {
    /// None.
    #[default]
    None,
    /// `all`.
    All,
    /// These.
    Some(BTreeSet<String>),
}

impl Chosen {
    fn parse(text: &str) -> Chosen {
        match text.trim() {
            "all" => Chosen::All,
            list => Chosen::Some(list.split(',').map(|name| name.trim().to_owned()).collect()),
        }
    }

    fn has(&self, id: &str) -> bool {
        match self {
            Chosen::None => false,
            Chosen::All => true,
            Chosen::Some(names) => names.contains(id),
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let names = if let Chosen::Some(names) = self { Some(names) } else { None };
        names.into_iter().flatten().map(|name| &**name).filter(|name| !name.is_empty())
    }
}

/// Which rules apply, and whether their findings are errors.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    skip: Chosen,
    experimental: Chosen,
    /// `error=true`.
    pub error: bool,
    /// Where it is said.
    pub span: Span,
}

/// Why a text is no configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Neither `skip=`, `error=` nor `experimental=`.
    #[error("invalid check option `{0}`: expected skip=, error= or experimental=")]
    UnknownOption(String),
    /// `error=` takes a boolean.
    #[error("invalid check option `error={0}`: expected true or false")]
    NotABoolean(String),
}

impl Config {
    /// Reads `skip=…;error=…;experimental=…`.
    ///
    /// # Errors
    /// An option there is not, or a value that it does not take. Names of rules are not looked at.
    pub fn parse(text: &str) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        if text.trim().is_empty() {
            return Ok(config);
        }
        for part in text.split(';') {
            let unknown = || ConfigError::UnknownOption(part.trim().to_owned());
            let (name, value) = part.split_once('=').ok_or_else(unknown)?;
            match name.trim() {
                "skip" => config.skip = Chosen::parse(value),
                "experimental" => config.experimental = Chosen::parse(value),
                "error" => {
                    config.error = match value.trim() {
                        "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
                        "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
                        other => return Err(ConfigError::NotABoolean(other.to_owned())),
                    };
                }
                _ => return Err(unknown()),
            }
        }
        Ok(config)
    }

    /// The configuration of a build, and what is wrong with it: an error, or warnings about rules that there are not.
    pub(crate) fn of(file: &Dockerfile, options: &Options) -> (Config, Vec<Diagnostic>) {
        let (text, place, span) = match (options.build_args.get(BUILD_ARG), &file.directives.check) {
            (Some(text), _) => (&**text, BUILD_ARG, file.stages.first().map_or(Span::default(), |stage| stage.span)),
            (None, Some(word)) => (&*word.text, "# check=", word.span),
            (None, None) => return (Config::default(), Vec::new()),
        };
        match Config::parse(text) {
            Ok(config) => {
                let unknown = config.unknown().map(|name| {
                    let text = format!("`{place}` names the rule `{name}`, which there is not");
                    let known = did_you_mean(name, RULES.iter().map(|rule| rule.id));
                    let hint = known.map_or_else(
                        || "`kiln explain` lists the rules".to_owned(),
                        |near| format!("did you mean `{near}`?"),
                    );
                    Diagnostic::warning("UnknownRule", span, text).hint(hint)
                });
                let unknown = unknown.collect();
                (Config { span, ..config }, unknown)
            }
            Err(e) => {
                let hint = "write `skip=RULE,RULE;error=true`; `kiln explain` lists the rules";
                let error = Diagnostic::error("check", span, format!("`{place}`: {e}")).hint(hint);
                (Config { span, ..Config::default() }, vec![error])
            }
        }
    }

    /// Names of rules that there are not.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        self.skip.names().chain(self.experimental.names()).filter(|name| super::rule(name).is_none())
    }

    /// Whether a rule applies to an instruction with these comments above it.
    pub(crate) fn applies(&self, rule: &Rule, comments: &[Word]) -> bool {
        let here = comments.iter().find_map(|comment| directive(&comment.text));
        let here = here.and_then(|text| Config::parse(text).ok()).unwrap_or_default();
        match rule.experimental {
            true => self.experimental.has(rule.id) || here.experimental.has(rule.id),
            false => !self.skip.has(rule.id) && !here.skip.has(rule.id),
        }
    }
}

/// What follows `check=` in a comment.
fn directive(comment: &str) -> Option<&str> {
    let (name, value) = comment.split_once('=')?;
    name.trim().eq_ignore_ascii_case("check").then(|| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations() {
        let config = Config::parse(" skip = A , B;error=T; experimental=all").unwrap();
        assert_eq!(config.skip, Chosen::Some(BTreeSet::from(["A".to_owned(), "B".to_owned()])));
        assert_eq!((config.experimental, config.error), (Chosen::All, true));
        assert_eq!(Config::parse("  ").unwrap(), Config::default());
        assert_eq!(Config::parse("skip=all").unwrap().skip, Chosen::All);
        assert_eq!(Config::parse("error=no"), Err(ConfigError::NotABoolean("no".into())));
        for bad in ["skip", "skip=A;", "color=red", "=x", ";"] {
            assert!(matches!(Config::parse(bad), Err(ConfigError::UnknownOption(_))), "{bad}");
        }
    }

    #[test]
    fn rules_there_are_not() {
        let config = Config::parse("skip=StageNameCasing,stagenamecasing,,Nope;experimental=X").unwrap();
        assert_eq!(config.unknown().collect::<Vec<_>>(), ["Nope", "stagenamecasing", "X"]);
    }

    #[test]
    fn directives_in_comments() {
        assert_eq!(directive("check=skip=A"), Some("skip=A"));
        assert_eq!(directive("Check = skip=A"), Some("skip=A"));
        assert_eq!(directive("recheck=skip=A"), None);
        assert_eq!(directive("check"), None);
    }
}
