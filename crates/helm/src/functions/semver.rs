//! Versions.

use kiln_gotmpl::{Failure, Object, Value};

use super::Table;
use super::arguments::{exact, text};
use crate::version::{Range, Version};

pub(crate) const TABLE: Table = &[
    ("semver", |a| exact(a).and_then(|[version]| Ok(Value::object(Semver(parse(text(version)?)?))))),
    ("semverCompare", |a| {
        let [range, version] = exact(a)?;
        let range = text(range)?;
        let wanted = Range::parse(range).ok_or_else(|| Failure::new(format!("improper constraint: {range}")))?;
        Ok(wanted.has(&parse(text(version)?)?).into())
    }),
];

fn parse(text: &str) -> Result<Version, Failure> {
    let wrong = || Failure::new(format!("invalid semantic version `{text}`"));
    Version::parse(text).ok_or_else(wrong)
}

struct Semver(Version);

impl Object for Semver {
    fn field(&self, name: &str) -> Option<Value> {
        let number = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
        Some(match name {
            "Major" => number(self.0.major),
            "Minor" => number(self.0.minor),
            "Patch" => number(self.0.patch),
            "Prerelease" => self.0.prerelease.as_str().into(),
            "Metadata" => self.0.metadata.as_str().into(),
            "Original" => self.0.original.as_str().into(),
            "String" => self.0.to_string().into(),
            _ => return None,
        })
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Option<Result<Value, Failure>> {
        let order: fn(std::cmp::Ordering) -> Value = match name {
            "Compare" => |order| Value::Int(order as i64),
            "LessThan" => |order| order.is_lt().into(),
            "GreaterThan" => |order| order.is_gt().into(),
            "LessThanEqual" => |order| order.is_le().into(),
            "GreaterThanEqual" => |order| order.is_ge().into(),
            "Equal" => |order| order.is_eq().into(),
            "IncMajor" | "IncMinor" | "IncPatch" if arguments.is_empty() => {
                return Some(Ok(Value::object(Semver(self.raised(name)))));
            }
            _ => return None,
        };
        Some(match arguments {
            [Value::Object(other)] => parse(&other.print()).map(|other| order(self.0.rank(&other))),
            _ => Err(Failure::new(format!("`{name}` wants a version, as `semver` makes one"))),
        })
    }

    fn print(&self) -> String {
        self.0.to_string()
    }

    fn type_name(&self) -> &'static str {
        "*semver.Version"
    }

    fn content(&self) -> Option<Value> {
        Some(self.0.original.as_str().into())
    }
}

impl Semver {
    fn raised(&self, name: &str) -> Version {
        let Version { major, minor, patch, .. } = self.0;
        let (major, minor, patch) = match name {
            "IncMajor" => (major.saturating_add(1), 0, 0),
            "IncMinor" => (major, minor.saturating_add(1), 0),
            // What is before a release becomes it.
            _ if !self.0.prerelease.is_empty() => (major, minor, patch),
            _ => (major, minor, patch.saturating_add(1)),
        };
        let original = format!("{major}.{minor}.{patch}");
        Version { major, minor, patch, prerelease: String::new(), metadata: String::new(), original }
    }
}
