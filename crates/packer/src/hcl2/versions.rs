//! `packer { required_version = ">= 1.7.0" }`.

use kiln_hcl::scope::Scope;

use super::SharedWorld;
use super::project::{Found, evaluate};
use crate::fault::Fault;

/// Compares the required version with ours, and looks at the requirements for plugins. Those are built in here, so that
/// their versions mean nothing.
pub(super) fn check(found: &Found, have: &str, world: &SharedWorld, faults: &mut Vec<Fault>) {
    found.only(&["required_version"], &["required_plugins"], faults);
    for plugins in found.inner("required_plugins") {
        for block in &plugins.block.body.blocks {
            faults.push(
                plugins
                    .place(block.kind_span)
                    .error("UnknownBlock", "a plugin is `name = { version = …, source = … }`"),
            );
        }
    }
    let Some(required) = found.attribute("required_version") else { return };
    let place = found.place(required.expr.span);
    match evaluate(world, &required.expr, &Scope::default(), &found.source) {
        Err(fault) => faults.push(fault),
        Ok(value) => match value.as_str().and_then(|text| allows(text, have)) {
            Some(true) => {}
            Some(false) => {
                let message = format!("the template requires a version which is not {have}");
                faults.push(place.error("WrongVersion", message).label("not met"));
            }
            None => faults.push(
                place.error("BadVersion", "this is no constraint on versions").hint("for example `>= 1.7.0, < 2.0.0`"),
            ),
        },
    }
}

fn numbers(version: &str) -> Option<[u64; 3]> {
    let plain = version.trim().trim_start_matches('v');
    let plain = plain.split(['-', '+']).next().unwrap_or(plain);
    let mut numbers = [0; 3];
    for (index, part) in plain.split('.').enumerate() {
        *numbers.get_mut(index)? = part.parse().ok()?;
    }
    Some(numbers)
}

/// Whether `have` meets all of the constraints; none when one cannot be read.
fn allows(constraints: &str, have: &str) -> Option<bool> {
    let have = numbers(have)?;
    let mut met = true;
    for constraint in constraints.split(',') {
        let constraint = constraint.trim();
        let operator = constraint.trim_end_matches(|c: char| !"<>=!~".contains(c));
        let written = constraint[operator.len()..].trim();
        let wanted = numbers(written)?;
        met &= match operator {
            "" | "=" => have == wanted,
            "!=" => have != wanted,
            ">" => have > wanted,
            ">=" => have >= wanted,
            "<" => have < wanted,
            "<=" => have <= wanted,
            "~>" => {
                // All numbers but the last one written are fixed.
                let fixed = written.split('.').count().saturating_sub(1).clamp(1, 2);
                have >= wanted && have[..fixed] == wanted[..fixed]
            }
            _ => return None,
        };
    }
    Some(met)
}

#[cfg(test)]
mod tests {
    use super::allows;

    #[test]
    fn compares_versions() {
        for (constraints, want) in [
            (">= 1.7.0", Some(true)),
            (">= 1.7.0, < 1.8", Some(false)),
            ("~> 1.9", Some(true)),
            ("~> 1.9.0", Some(false)),
            ("~> 1.10.1", Some(true)),
            ("1.10.2", Some(true)),
            ("!= 1.10.2", Some(false)),
            ("> x", None),
            ("=> 1.0", None),
        ] {
            assert_eq!(allows(constraints, "1.10.2"), want, "{constraints}");
        }
    }
}
