//! Rules about `FROM` and the arguments in it. They look at all stages, whatever the target needs.

use kiln_oci::{Platform, Reference};
use kiln_spec::ast::Op;
use kiln_spec::diag::did_you_mean;
use kiln_spec::expand::Expanded;
use kiln_spec::source::Word;

use super::{Finding, Scene};
use crate::scope::Scope;

/// A word of `FROM`, expanded; `None` where that is an error, which is reported as one.
fn expanded(scene: &Scene<'_>, word: &Word, scope: &Scope) -> Option<Expanded> {
    scene.expander.word(&word.text, &|name| scope.get(name).map(str::to_owned)).ok()
}

/// The `--platform` of each stage that has one, with the stage's name.
fn platforms<'a>(scene: &Scene<'a>) -> Vec<(&'a Word, Expanded, &'a str)> {
    let name = |stage: &'a kiln_spec::ast::Stage| stage.name.as_ref().map_or("", |name| &*name.text);
    let stages = scene.file.stages.iter();
    stages
        .filter_map(|stage| {
            let word = stage.platform.as_ref()?;
            Some((word, expanded(scene, word, scene.global)?, name(stage)))
        })
        .collect()
}

pub(super) fn undefined_arg_in_from(scene: &Scene<'_>) -> Vec<Finding> {
    let declared: Vec<&str> = scene
        .file
        .global_args
        .iter()
        .flat_map(|instruction| match &instruction.op {
            Op::Arg(args) => args.iter().map(|arg| &*arg.name.text).collect(),
            _ => Vec::new(),
        })
        .chain(scene.global.names())
        .collect();
    let mut found = Vec::new();
    for word in scene.file.stages.iter().flat_map(|stage| std::iter::once(&stage.base).chain(&stage.platform)) {
        let Some(expanded) = expanded(scene, word, scene.global) else { continue };
        for name in expanded.unmatched.iter().filter(|name| !declared.contains(&&***name)) {
            let meant = did_you_mean(name, declared.iter().copied()).map(|near| format!("did you mean `${near}`?"));
            let message = format!("`FROM` uses `${name}`, which no ARG before the first FROM declares");
            found.push(Finding::new(word.span, message).hint(meant));
        }
    }
    found
}

pub(super) fn redundant_target_platform(scene: &Scene<'_>) -> Vec<Finding> {
    let redundant = |expanded: &Expanded| {
        expanded.matched == ["TARGETPLATFORM"]
            && expanded.unmatched.is_empty()
            && scene.global.get("TARGETPLATFORM") == Some(&expanded.value)
    };
    platforms(scene)
        .into_iter()
        .filter(|(_, expanded, _)| redundant(expanded))
        .map(|(word, ..)| Finding::new(word.span, format!("`--platform={}` is what `FROM` does anyway", word.text)))
        .collect()
}

/// A stage whose name tells its system or architecture is meant to be for it.
pub(super) fn from_platform_flag_const(scene: &Scene<'_>) -> Vec<Finding> {
    let fixed = |expanded: &Expanded, name: &str| {
        expanded.matched.is_empty()
            && expanded.unmatched.is_empty()
            && expanded
                .value
                .parse::<Platform>()
                .is_ok_and(|platform| !name.contains(&*platform.os) && !name.contains(&*platform.architecture))
    };
    platforms(scene)
        .into_iter()
        .filter(|(_, expanded, name)| fixed(expanded, name))
        .map(|(word, expanded, _)| {
            let message = format!("`--platform={}` is fixed, whatever platform is asked for", expanded.value);
            Finding::new(word.span, message)
        })
        .collect()
}

pub(super) fn invalid_default_arg_in_from(scene: &Scene<'_>) -> Vec<Finding> {
    let stages = scene.file.stages.iter();
    stages
        .filter(|stage| {
            expanded(scene, &stage.base, scene.defaults)
                .is_some_and(|expanded| expanded.value.parse::<Reference>().is_err())
        })
        .map(|stage| {
            let message = format!("`{}` is not the name of an image without build arguments", stage.base.text);
            Finding::new(stage.base.span, message)
        })
        .collect()
}
