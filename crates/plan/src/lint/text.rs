//! Rules that need nothing but the text.

use std::collections::BTreeSet;

use kiln_spec::ast::{Instruction, Op};
use kiln_spec::source::Word;

use super::{Finding, Scene};

/// Names that mean something else where stages are named.
const RESERVED: [&str; 2] = ["context", "scratch"];

fn names<'a>(scene: &Scene<'a>) -> impl Iterator<Item = &'a Word> {
    scene.file.stages.iter().filter_map(|stage| stage.name.as_ref())
}

fn is_lower(text: &str) -> bool {
    text == text.to_lowercase()
}

fn is_upper(text: &str) -> bool {
    text == text.to_uppercase()
}

pub(super) fn stage_name_casing(scene: &Scene<'_>) -> Vec<Finding> {
    let mixed = names(scene).filter(|name| !is_lower(&name.text));
    mixed
        .map(|name| {
            let hint = format!("write `{}`", name.text.to_lowercase());
            Finding::new(name.span, format!("the stage name `{}` should be lowercase", name.text)).hint(Some(hint))
        })
        .collect()
}

/// A `From` of mixed case is the matter of another rule.
pub(super) fn from_as_casing(scene: &Scene<'_>) -> Vec<Finding> {
    let same = |from: &str, keyword: &str| match (is_lower(from), is_upper(from)) {
        (true, _) => is_lower(keyword),
        (_, true) => is_upper(keyword),
        _ => true,
    };
    let pairs = scene.file.stages.iter().filter_map(|stage| Some((&stage.keyword, stage.as_keyword.as_ref()?)));
    pairs
        .filter(|(from, keyword)| !same(&from.text, &keyword.text))
        .map(|(from, keyword)| {
            Finding::new(keyword.span, format!("`{}` and `{}` are cased differently", from.text, keyword.text))
        })
        .collect()
}

pub(super) fn no_empty_continuation(scene: &Scene<'_>) -> Vec<Finding> {
    let found = |span: &kiln_spec::source::Span| {
        Finding::new(*span, "empty line inside an instruction that is continued".to_owned())
    };
    scene.file.empty_continuations.iter().map(found).collect()
}

/// What most instructions are; a word of mixed case counts for neither.
pub(super) fn consistent_instruction_casing(scene: &Scene<'_>) -> Vec<Finding> {
    let inside = |stage: &'_ kiln_spec::ast::Stage| -> Vec<Word> {
        std::iter::once(&stage.keyword).chain(stage.instructions.iter().map(|i| &i.keyword)).cloned().collect()
    };
    let keywords: Vec<Word> = scene.file.stages.iter().flat_map(inside).collect();
    let lowers = keywords.iter().filter(|word| is_lower(&word.text)).count();
    let uppers = keywords.iter().filter(|word| is_upper(&word.text)).count();
    let (right, case): (fn(&str) -> bool, _) =
        if lowers > uppers { (is_lower, "lowercase") } else { (is_upper, "uppercase") };
    keywords
        .iter()
        .filter(|word| !right(&word.text))
        .map(|word| Finding::new(word.span, format!("`{}` should be {case} like most instructions here", word.text)))
        .collect()
}

pub(super) fn duplicate_stage_name(scene: &Scene<'_>) -> Vec<Finding> {
    let mut taken = BTreeSet::new();
    let again = names(scene).filter(|name| !taken.insert(name.text.to_lowercase()));
    again.map(|name| Finding::new(name.span, format!("more than one stage is named `{}`", name.text))).collect()
}

pub(super) fn reserved_stage_name(scene: &Scene<'_>) -> Vec<Finding> {
    let reserved = names(scene).filter(|name| RESERVED.contains(&&*name.text.to_lowercase()));
    reserved.map(|name| Finding::new(name.span, format!("the stage name `{}` is reserved", name.text))).collect()
}

fn instructions<'a>(scene: &Scene<'a>) -> impl Iterator<Item = &'a Instruction> {
    scene.file.stages.iter().flat_map(|stage| &stage.instructions)
}

pub(super) fn maintainer_deprecated(scene: &Scene<'_>) -> Vec<Finding> {
    instructions(scene)
        .filter(|instruction| matches!(instruction.op, Op::Maintainer(_)))
        .map(|instruction| Finding::new(instruction.keyword.span, "`MAINTAINER` is deprecated"))
        .collect()
}

/// The comment right above a named stage or an `ARG` is taken for its description, and must begin with the name.
pub(super) fn invalid_definition_description(scene: &Scene<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut judge = |comments: &[Word], keyword: &str, names: &[String]| {
        let Some(last) = comments.last() else { return };
        let first = last.text.split(' ').next().unwrap_or("");
        if names.is_empty() || names.iter().any(|name| name == first) {
            return;
        }
        let name = if let [only] = names { only } else { "NAME" };
        let message = format!("the comment above `{keyword} {}` does not describe it", names.join(" "));
        let hint = format!("write `# {name} …`, or part the comment from it by an empty line");
        found.push(Finding::new(last.span, message).hint(Some(hint)));
    };
    for stage in &scene.file.stages {
        let name = stage.name.iter().map(|name| name.text.to_lowercase()).collect::<Vec<_>>();
        judge(&stage.comments, "FROM … AS", &name);
    }
    for instruction in scene.file.global_args.iter().chain(instructions(scene)) {
        if let Op::Arg(args) = &instruction.op {
            let names: Vec<String> = args.iter().map(|arg| arg.name.text.clone()).collect();
            judge(&instruction.comments, "ARG", &names);
        }
    }
    found
}
