//! `--provenance`, `--sbom` and `--attest`: which attestations a build makes, said in buildx's words.

use kiln_attest::provenance::{Mode, Version};
use kiln_engine::attest::{Format, Provenance, Wanted};

use crate::error::CliError;
use crate::options::flag;

/// What the three options together ask for. The short ones win over `--attest`.
pub fn wanted(provenance: Option<&str>, sbom: Option<&str>, attest: &[String]) -> Result<Wanted, CliError> {
    let mut wanted = Wanted::default();
    for spec in attest {
        let (kind, rest) = kind_of(spec)?;
        match kind {
            "provenance" => wanted.provenance = provenance_of(&format!("--attest {spec}"), &rest)?,
            "sbom" => wanted.sboms = sboms_of(&format!("--attest {spec}"), &rest)?,
            other => {
                let error = CliError::usage(format!("--attest {spec}: there is no type `{other}`"));
                return Err(error.with_hint("there are provenance and sbom"));
            }
        }
    }
    if let Some(text) = provenance {
        wanted.provenance = provenance_of(&format!("--provenance={text}"), &fields(text))?;
    }
    if let Some(text) = sbom {
        wanted.sboms = sboms_of(&format!("--sbom={text}"), &fields(text))?;
    }
    Ok(wanted)
}

/// The formats of SBOMs that fields ask for; none if they switch it off.
fn sboms_of(what: &str, fields: &[(&str, &str)]) -> Result<Vec<Format>, CliError> {
    let (mut formats, mut on) = (Vec::new(), true);
    for (key, value) in fields {
        match (*key, *value) {
            ("true" | "1" | "", "") => {}
            ("false" | "0", "") => on = false,
            ("disabled", value) => on = !flag(what, value)?,
            ("format", value) => formats.push(format(what, value)?),
            ("spdx" | "cyclonedx", "") => formats.push(format(what, key)?),
            ("generator", image) => {
                let error = CliError::usage(format!("{what}: the generator `{image}` is not run"));
                return Err(error.with_hint("Kiln looks through the layers itself: leave it out"));
            }
            (other, _) => {
                let error = CliError::usage(format!("{what}: `{other}` is not supported"));
                return Err(error.with_hint("there are format=spdx, format=cyclonedx and disabled"));
            }
        }
    }
    if formats.is_empty() {
        formats.push(Format::Spdx);
    }
    Ok(if on { formats } else { Vec::new() })
}

/// A format by its name.
pub fn format(what: &str, name: &str) -> Result<Format, CliError> {
    match name {
        "spdx" | "spdx-json" => Ok(Format::Spdx),
        "cyclonedx" | "cyclonedx-json" => Ok(Format::CycloneDx),
        other => Err(CliError::usage(format!("{what}: there is no format `{other}`"))
            .with_hint("there are spdx (2.3) and cyclonedx (1.6), both as JSON")),
    }
}

/// Fields of an option: name and value, in order.
type Fields<'a> = Vec<(&'a str, &'a str)>;

/// The type of an `--attest`, and its other fields.
fn kind_of(spec: &str) -> Result<(&str, Fields<'_>), CliError> {
    let mut all = fields(spec);
    match all.iter().position(|(key, _)| *key == "type") {
        Some(index) => Ok((all.remove(index).1, all)),
        None => Err(CliError::usage(format!("--attest {spec}: type= is missing"))
            .with_hint("write --attest type=provenance,mode=max or --attest type=sbom")),
    }
}

fn fields(text: &str) -> Fields<'_> {
    text.split(',').map(|field| field.split_once('=').unwrap_or((field, ""))).collect()
}

/// The attestation that fields ask for; `None` if they switch it off.
fn provenance_of(what: &str, fields: &[(&str, &str)]) -> Result<Option<Provenance>, CliError> {
    let mut made = Provenance { mode: Mode::Min, version: Version::V1, builder: None, reproducible: false };
    let mut on = true;
    for (key, value) in fields {
        match (*key, *value) {
            ("true" | "1" | "", "") | ("mode", "min") => {}
            ("false" | "0", "") => on = false,
            ("disabled", value) => on = !flag(what, value)?,
            ("max" | "min", "") => made.mode = if *key == "max" { Mode::Max } else { Mode::Min },
            ("mode", "max") => made.mode = Mode::Max,
            ("version", "v1" | "1") => made.version = Version::V1,
            ("version", "v0.2" | "0.2") => made.version = Version::V0_2,
            ("builder-id", id) => made.builder = Some(id.to_owned()),
            ("reproducible", value) => made.reproducible = flag(what, value)?,
            // What BuildKit takes to leave attestations out where the result is not pushed or kept.
            ("inline-only", value) => drop(flag(what, value)?),
            ("mode", other) => return Err(CliError::usage(format!("{what}: mode `{other}` is neither min nor max"))),
            ("version", other) => {
                return Err(CliError::usage(format!("{what}: version `{other}` is neither v1 nor v0.2")));
            }
            (other, _) => {
                let error = CliError::usage(format!("{what}: `{other}` is not supported"));
                return Err(error.with_hint("there are mode, version, builder-id, reproducible and disabled"));
            }
        }
    }
    Ok(on.then_some(made))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(provenance: Option<&str>, attest: &[&str]) -> Result<Wanted, String> {
        let attest: Vec<String> = attest.iter().map(|&text| text.to_owned()).collect();
        wanted(provenance, None, &attest).map_err(|e| e.render(false))
    }

    #[test]
    fn buildx_habits_are_read() {
        let min = Provenance { mode: Mode::Min, version: Version::V1, builder: None, reproducible: false };
        let max = Provenance { mode: Mode::Max, ..min.clone() };
        for (short, long, provenance) in [
            (None, &[][..], None),
            (Some("true"), &[], Some(min.clone())),
            (Some("false"), &["type=provenance"], None),
            (Some("mode=max"), &[], Some(max.clone())),
            (None, &["type=provenance,mode=max"], Some(max.clone())),
            (None, &["mode=max,type=provenance"], Some(max.clone())),
            (None, &["type=provenance,disabled=true"], None),
            (Some("mode=max,version=v0.2"), &[], Some(Provenance { version: Version::V0_2, ..max.clone() })),
            (
                Some("builder-id=https://ci.example/7"),
                &[],
                Some(Provenance { builder: Some("https://ci.example/7".to_owned()), ..min }),
            ),
        ] {
            assert_eq!(parsed(short, long).unwrap().provenance, provenance, "{short:?} {long:?}");
        }
    }

    #[test]
    fn sboms_have_formats() {
        let sboms = |sbom: Option<&str>, attest: &[&str]| {
            let attest: Vec<String> = attest.iter().map(|&text| text.to_owned()).collect();
            wanted(None, sbom, &attest).map(|wanted| wanted.sboms).map_err(|e| e.render(false))
        };
        assert_eq!(sboms(None, &[]), Ok(vec![]));
        assert_eq!(sboms(Some("true"), &[]), Ok(vec![Format::Spdx]));
        assert_eq!(sboms(Some("false"), &["type=sbom"]), Ok(vec![]));
        assert_eq!(sboms(Some("format=spdx,format=cyclonedx"), &[]), Ok(vec![Format::Spdx, Format::CycloneDx]));
        assert_eq!(sboms(None, &["type=sbom,format=cyclonedx"]), Ok(vec![Format::CycloneDx]));
        assert!(sboms(Some("generator=docker/scanner"), &[]).unwrap_err().contains("looks through the layers itself"));
        assert!(sboms(Some("format=swid"), &[]).unwrap_err().contains("no format `swid`"));
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (short, long, why) in [
            (Some("mode=some"), None, "mode `some`"),
            (Some("version=v9"), None, "version `v9`"),
            (Some("moed=max"), None, "`moed` is not supported"),
            (None, Some("mode=max"), "type= is missing"),
            (None, Some("type=vex"), "no type `vex`"),
            (None, Some("type=provenance,reproducible=maybe"), "neither true nor false"),
        ] {
            let error = parsed(short, &long.into_iter().collect::<Vec<_>>()).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
