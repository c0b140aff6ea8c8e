//! The functions of the legacy dialect.
//!
//! `env` is only known to the defaults of variables, `build` only where a machine may exist; both say so elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kiln_gotmpl::{Failure, Functions, Value};
use kiln_spec::diag::did_you_mean;
use kiln_spec::moment::{self, Moment};

use super::Setting;
use crate::model::BuildFacts;

/// Functions that read secrets from elsewhere.
const STORES: [&str; 4] = ["consul_key", "vault", "aws_secretsmanager", "aws_secretsmanager_raw"];
/// The longest text a text function makes.
const LONGEST: usize = 16 << 20;

/// What a function without arguments answers.
type Answer = fn(&Setting) -> &str;

/// The argument `index` as text.
fn text<'v>(name: &str, arguments: &'v [Value], index: usize) -> Result<&'v str, Failure> {
    match arguments.get(index) {
        Some(Value::String(text)) => Ok(text.as_ref()),
        Some(other) => {
            Err(Failure::new(format!("`{name}` wants a text as argument {}, not {}", index + 1, other.noun())))
        }
        None => Err(Failure::new(format!("`{name}` lacks argument {}", index + 1))),
    }
}

/// The argument `index` as a number.
fn number(name: &str, arguments: &[Value], index: usize) -> Result<i64, Failure> {
    match arguments.get(index) {
        Some(Value::Int(number)) => Ok(*number),
        Some(other) => {
            Err(Failure::new(format!("`{name}` wants a number as argument {}, not {}", index + 1, other.noun())))
        }
        None => Err(Failure::new(format!("`{name}` lacks argument {}", index + 1))),
    }
}

fn count(name: &str, arguments: &[Value], most: usize) -> Result<(), Failure> {
    if arguments.len() <= most {
        return Ok(());
    }
    Err(Failure::new(format!("`{name}` takes {most} arguments at most, not {}", arguments.len())))
}

/// Every function but `env` and `user`.
pub(crate) fn library(setting: &Arc<Setting>, made: &Arc<AtomicU64>) -> Functions<'static> {
    let mut functions = Functions::new();
    texts(&mut functions);
    times(&mut functions, setting.now);
    let constants: [(&'static str, Answer); 5] = [
        ("build_name", |setting| &setting.build_name),
        ("build_type", |setting| &setting.build_type),
        ("template_dir", |setting| &setting.template_dir),
        ("pwd", |setting| &setting.working_directory),
        ("packer_version", |setting| &setting.packer_version),
    ];
    for (name, get) in constants {
        let setting = Arc::clone(setting);
        functions.add(name, move |arguments| count(name, arguments, 0).map(|()| Value::from(get(&setting))));
    }
    let (of_uuid, made) = (Arc::clone(setting), Arc::clone(made));
    functions.add("uuid", move |arguments| {
        count("uuid", arguments, 0)?;
        Ok(Value::from(identifier(of_uuid.now, of_uuid.seed, made.fetch_add(1, Ordering::Relaxed))))
    });
    let of_build = Arc::clone(setting);
    functions.add("build", move |arguments| {
        count("build", arguments, 1)?;
        fact(of_build.facts.as_ref(), text("build", arguments, 0)?)
    });
    let of_name = Arc::clone(setting);
    functions.add("clean_resource_name", move |arguments| {
        count("clean_resource_name", arguments, 1)?;
        Ok(Value::from(clean(&of_name.build_type, text("clean_resource_name", arguments, 0)?)))
    });
    functions.add("env", |_| {
        Err(Failure::new("`env` is only known in the defaults of `variables`")
            .hint("declare a variable whose default is the action, and write {{user `NAME`}} here"))
    });
    functions.add("user", |_| Err(Failure::new("`user` is not known here: variables are `var.NAME`")));
    functions.add("sed", |_| Err(Failure::new("`sed` was removed from Packer").hint("use `replace_all`")));
    for name in STORES {
        functions.add(name, move |_| {
            Err(Failure::new(format!("`{name}` is not supported: Kiln reads no secrets from elsewhere"))
                .hint("read the secret before, and pass it as a variable: `-var` or `-var-file`"))
        });
    }
    functions
}

/// Adds `user`.
pub(crate) fn variables(functions: &mut Functions<'static>, setting: &Arc<Setting>) {
    let setting = Arc::clone(setting);
    functions.add("user", move |arguments| {
        count("user", arguments, 1)?;
        let name = text("user", arguments, 0)?;
        let declared = setting.user.iter().flatten();
        match setting.user.as_ref().and_then(|user| user.get(name)) {
            Some(value) => Ok(Value::from(value.as_str())),
            None => Err(undeclared(name, declared.map(|(name, _)| name.as_str()))),
        }
    });
}

/// That a variable is not declared.
pub(crate) fn undeclared<'a>(name: &str, declared: impl IntoIterator<Item = &'a str>) -> Failure {
    let failure = Failure::new(format!("the variable `{name}` is not declared"));
    match did_you_mean(name, declared) {
        Some(meant) => failure.hint(format!("did you mean `{meant}`?")),
        None => {
            failure.hint(format!("add it to `variables`: \"{name}\": \"a default\", or null when it must be given"))
        }
    }
}

fn fact(facts: Option<&BuildFacts>, name: &str) -> Result<Value, Failure> {
    let Some(facts) = facts else {
        return Err(Failure::new("`build` is only known in provisioners and post-processors"));
    };
    let unknown = || {
        let failure = Failure::new(format!("nothing is known about a build by the name `{name}`"));
        match did_you_mean(name, BuildFacts::NAMES) {
            Some(meant) => failure.hint(format!("did you mean `{meant}`?")),
            None => failure.hint(format!("known are {}", BuildFacts::NAMES.join(", "))),
        }
    };
    facts.get(name).map(Value::from).ok_or_else(unknown)
}

fn texts(functions: &mut Functions<'static>) {
    functions.add("upper", |arguments| {
        count("upper", arguments, 1)?;
        Ok(Value::from(text("upper", arguments, 0)?.to_uppercase()))
    });
    functions.add("lower", |arguments| {
        count("lower", arguments, 1)?;
        Ok(Value::from(text("lower", arguments, 0)?.to_lowercase()))
    });
    functions.add("split", |arguments| {
        count("split", arguments, 3)?;
        let (whole, by) = (text("split", arguments, 0)?, text("split", arguments, 1)?);
        let index = number("split", arguments, 2)?;
        let parts: Vec<String> = if by.is_empty() {
            whole.chars().map(String::from).collect()
        } else {
            whole.split(by).map(str::to_owned).collect()
        };
        let part = usize::try_from(index).ok().and_then(|index| parts.get(index));
        let none = || Failure::new(format!("`split` has no part {index}: it counts from 0 and makes {}", parts.len()));
        part.map(|part| Value::from(part.as_str())).ok_or_else(none)
    });
    functions.add("replace", |arguments| {
        count("replace", arguments, 4)?;
        let limit = usize::try_from(number("replace", arguments, 2)?).unwrap_or(usize::MAX);
        let (old, new) = (text("replace", arguments, 0)?, text("replace", arguments, 1)?);
        replaced(text("replace", arguments, 3)?, old, new, limit)
    });
    functions.add("replace_all", |arguments| {
        count("replace_all", arguments, 3)?;
        let (old, new) = (text("replace_all", arguments, 0)?, text("replace_all", arguments, 1)?);
        replaced(text("replace_all", arguments, 2)?, old, new, usize::MAX)
    });
}

fn replaced(whole: &str, old: &str, new: &str, limit: usize) -> Result<Value, Failure> {
    let hits = if old.is_empty() { whole.chars().count() + 1 } else { whole.matches(old).count() }.min(limit);
    if hits.saturating_mul(new.len()).saturating_add(whole.len()) > LONGEST {
        return Err(Failure::new(format!("the text would grow beyond {LONGEST} bytes")));
    }
    Ok(Value::from(whole.replacen(old, new, limit)))
}

fn times(functions: &mut Functions<'static>, now: i64) {
    functions.add("timestamp", move |arguments| {
        count("timestamp", arguments, 0)?;
        Ok(Value::Int(now))
    });
    functions.add("isotime", move |arguments| {
        count("isotime", arguments, 1)?;
        let layout = if arguments.is_empty() { moment::RFC3339 } else { text("isotime", arguments, 0)? };
        Ok(Value::from(Moment::utc(now).go(layout)))
    });
    functions.add("strftime", move |arguments| {
        count("strftime", arguments, 1)?;
        Moment::utc(now).strftime(text("strftime", arguments, 0)?).map(Value::from).map_err(Failure::new)
    });
}

/// An identifier in the form of a UUID whose first part is the time, as Packer's are: they sort by age.
fn identifier(now: i64, seed: u128, count: u64) -> String {
    let [high, low] = [(seed >> 64) as u64, seed as u64];
    let a = mixed(high ^ mixed(count.wrapping_add(1)));
    let b = mixed(low ^ mixed(!count));
    let time = now as u32;
    let digits = format!("{:016x}{:08x}", a, b >> 32);
    format!("{time:08x}-{}-{}-{}-{}", &digits[..4], &digits[4..8], &digits[8..12], &digits[12..24])
}

/// The finalizer of splitmix64: every bit of the input changes about half of the output.
fn mixed(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A text made into a name that a builder's images may have.
fn clean(kind: &str, name: &str) -> String {
    if kind == "googlecompute" {
        let lower = name.to_lowercase();
        return lower.bytes().map(|b| if b.is_ascii_alphanumeric() { char::from(b) } else { '-' }).collect();
    }
    let allowed: &str = match kind {
        kind if kind.starts_with("amazon-") => "()[] ./-'@_",
        kind if kind.starts_with("azure-") => "._-",
        "alicloud-ecs" => ":_-.",
        _ => "._-",
    };
    name.chars().map(|c| if c.is_ascii_alphanumeric() || allowed.contains(c) { c } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_sort_by_time_and_differ() {
        let first = identifier(0x5d3a_1b2c, 7, 0);
        assert!(first.starts_with("5d3a1b2c-"), "{first}");
        assert_eq!(first.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert_ne!(first, identifier(0x5d3a_1b2c, 7, 1));
        assert_ne!(first, identifier(0x5d3a_1b2c, 8, 0));
        assert_eq!(first, identifier(0x5d3a_1b2c, 7, 0));
    }

    #[test]
    fn names_are_cleaned_for_their_cloud() {
        assert_eq!(clean("googlecompute", "My Image_1.0"), "my-image-1-0");
        assert_eq!(clean("amazon-ebs", "My Image_1:0"), "My Image_1-0");
        assert_eq!(clean("alicloud-ecs", "My Image_1:0"), "My-Image_1:0");
    }

    #[test]
    fn a_replacement_does_not_explode() {
        let long = "a".repeat(1 << 20);
        assert!(replaced(&long, "", &long, usize::MAX).is_err());
        assert_eq!(replaced("aXbX", "X", "-", 1).ok(), Some(Value::from("a-bX")));
    }
}
