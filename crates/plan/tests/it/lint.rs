//! Rules: which texts they find something in, and where.

use kiln_oci::Platform;
use kiln_plan::lint::{MAX_FINDINGS, RULES, Rule};
use kiln_plan::{Extent, Survey};
use kiln_spec::source::Source;

use crate::World;

/// Everything found: `line rule: message`.
fn said(world: &mut World, text: &str, extent: Extent) -> Vec<String> {
    shown(&world.survey(text, extent), text)
}

fn shown(survey: &Survey, text: &str) -> Vec<String> {
    let source = Source { name: String::new(), text: text.to_owned() };
    let line =
        |d: &kiln_spec::diag::Diagnostic| format!("{} {}: {}", source.position(d.span.start).0, d.code, d.message);
    survey.findings.iter().map(line).collect()
}

/// Lines and rules only.
fn found(text: &str) -> Vec<String> {
    found_in(&mut World::new(), text)
}

fn found_in(world: &mut World, text: &str) -> Vec<String> {
    let short = |said: String| said.split(':').next().unwrap_or_default().to_owned();
    said(world, text, Extent::All).into_iter().map(short).collect()
}

const NOTHING: [&str; 0] = [];

#[test]
fn what_each_rule_finds() {
    for (text, wanted) in [
        ("FROM b AS Build", &["1 StageNameCasing"][..]),
        ("FROM b AS build", &[]),
        ("FROM b as x\nfrom b AS y", &["1 FromAsCasing", "2 ConsistentInstructionCasing", "2 FromAsCasing"]),
        ("From b as x", &["1 ConsistentInstructionCasing"]),
        ("FROM b\nRUN a \\\n\n b", &["3 NoEmptyContinuation"]),
        ("FROM b\nRUN a \\\n# x\n b", &[]),
        ("from b\nrun a\nRUN c", &["3 ConsistentInstructionCasing"]),
        ("FROM b\nRun a", &["2 ConsistentInstructionCasing"]),
        // Arguments before the first stage are neither judged nor counted.
        ("arg a\narg b\nFROM b\nRUN a", &[]),
        ("FROM b AS x\nFROM b AS y\nFROM b AS x", &["3 DuplicateStageName"]),
        ("FROM b AS scratch", &["1 ReservedStageName"]),
        ("FROM b AS context", &["1 ReservedStageName"]),
        ("FROM b\nCMD a", &["2 JSONArgsRecommended"]),
        ("FROM b\nENTRYPOINT a", &["2 JSONArgsRecommended"]),
        ("FROM b\nCMD [\"a\"]\nHEALTHCHECK CMD a\nRUN a", &[]),
        ("FROM b AS x\nSHELL [\"sh\"]\nFROM x\nCMD a\nFROM b\nCMD a", &["6 JSONArgsRecommended"]),
        ("FROM b\nMAINTAINER me", &["2 MaintainerDeprecated"]),
        ("FROM b:1$NOPE", &["1 UndefinedArgInFrom"]),
        ("ARG V\nFROM b${V:+:$V}", &[]),
        ("FROM --platform=$BULIDPLATFORM b\n", &["1 UndefinedArgInFrom"]),
        ("FROM b\nWORKDIR app\nWORKDIR more", &["2 WorkdirRelativePath"]),
        ("FROM b AS x\nWORKDIR /app\nWORKDIR more\nFROM x\nWORKDIR again", &[]),
        ("FROM b\nARG D=app\nWORKDIR $D", &["3 WorkdirRelativePath"]),
        ("FROM b\nCOPY $foo $foo /", &["2 UndefinedVar"]),
        ("FROM b\nARG a=$b\nENV c=$d", &["2 UndefinedVar", "3 UndefinedVar"]),
        ("FROM b\nARG a\nENV c=$a d=$PATH e=$LANG", &[]),
        ("ARG a=1\nFROM b\nLABEL x=$a", &["3 UndefinedVar"]),
        ("ARG a=$nope\nFROM b", &[]),
        ("FROM b\nCOPY <<E /x\n$nope\nE\nCOPY <<'E' /x\n$nope\nE", &["3 UndefinedVar"]),
        ("FROM b\nRUN --mount=type=bind,target=$nope $any", &["2 UndefinedVar"]),
        ("FROM b\nRUN $nope\nCMD [\"$nope\"]\nEXPOSE 80$nope\nLABEL a='$nope'", &[]),
        (
            "FROM b\nCMD [\"a\"]\nCMD [\"b\"]\nCMD [\"c\"]",
            &["2 MultipleInstructionsDisallowed", "3 MultipleInstructionsDisallowed"],
        ),
        ("FROM b\nHEALTHCHECK NONE\nHEALTHCHECK CMD a", &["2 MultipleInstructionsDisallowed"]),
        ("FROM b AS x\nCMD [\"a\"]\nFROM x\nCMD [\"b\"]\nENTRYPOINT [\"c\"]", &[]),
        ("FROM b\nENV k v\nLABEL k v", &["2 LegacyKeyValueFormat", "3 LegacyKeyValueFormat"]),
        ("FROM b\nENV k=v w=\"x y\"", &[]),
        ("FROM --platform=$TARGETPLATFORM b", &["1 RedundantTargetPlatform"]),
        ("FROM --platform=${TARGETPLATFORM} b", &["1 RedundantTargetPlatform"]),
        ("FROM --platform=$BUILDPLATFORM b", &[]),
        ("FROM --platform=$TARGETOS/$TARGETARCH b", &[]),
        ("FROM b\nARG TOKEN\nENV a=1 API_KEY=2", &["2 SecretsUsedInArgOrEnv", "3 SecretsUsedInArgOrEnv"]),
        ("ARG TOKEN\nFROM b\nLABEL password=x\nENV PUBLIC_KEY=x MONKEY=x", &[]),
        ("ARG V\nFROM b:$V", &["2 InvalidDefaultArgInFrom"]),
        ("ARG V=1\nFROM b:$V", &[]),
        ("ARG I\nFROM ${I:-b}", &[]),
        ("FROM --platform=linux/amd64 b", &["1 FromPlatformFlagConstDisallowed"]),
        ("FROM --platform=linux/amd64 b AS build-amd64\nFROM --platform=linux/amd64 b AS linux", &[]),
        ("ARG P=linux/amd64\nFROM --platform=$P b", &[]),
        ("FROM b\nEXPOSE 80/TCP 53/udp", &["2 ExposeProtoCasing"]),
        ("FROM b\nEXPOSE 127.0.0.1:80:8080 80:8080 8000-8002", &["2 ExposeInvalidFormat", "2 ExposeInvalidFormat"]),
    ] {
        // Build arguments are for the rule that ignores them.
        let mut world = World::new();
        world.options.build_args.insert("V".to_owned(), "2".to_owned());
        assert_eq!(found_in(&mut world, text), wanted, "{text}");
    }
}

#[test]
fn findings_are_worded_and_hinted() {
    let survey = World::new().survey("FROM b\nARG VERSION\nENV a=$VERSOIN\nCMD x", Extent::All);
    let first = &survey.findings[0];
    assert_eq!(first.message, "the variable `$VERSOIN` is not defined here");
    // What is declared without a value is no candidate: only what has one could have been meant.
    assert_eq!(first.hint.as_deref(), Some("declare it in this stage with ARG or ENV"));
    let survey = World::new().survey("FROM b\nARG VERSION=1\nENV a=$VERSOIN", Extent::All);
    assert_eq!(survey.findings[0].hint.as_deref(), Some("did you mean `$VERSION`?"));
}

#[test]
fn the_platform_of_a_base() {
    let mut world = World::new();
    world.options.platform = Platform::linux("arm64");
    assert_eq!(
        said(&mut world, "FROM b", Extent::All),
        ["1 InvalidBaseImagePlatform: the base image is for linux/amd64, but the stage is built for linux/arm64"]
    );
    assert_eq!(found_in(&mut world, "FROM --platform=$BUILDPLATFORM b"), NOTHING);
}

#[test]
fn a_shell_and_triggers_of_the_base() {
    let mut world = World::new();
    world.base.config.shell = Some(vec!["sh".to_owned()]);
    assert_eq!(found_in(&mut world, "FROM b\nCMD x"), NOTHING);
    let mut world = World::new();
    world.base.config.on_build = vec!["CMD [\"a\"]".to_owned(), "ENV k $nope".to_owned(), "WORKDIR app".to_owned()];
    assert_eq!(
        found_in(&mut world, "ARG x\nFROM b\nCMD [\"b\"]"),
        ["2 WorkdirRelativePath", "2 UndefinedVar", "2 MultipleInstructionsDisallowed", "2 LegacyKeyValueFormat"]
    );
}

#[test]
fn sources_that_are_excluded() {
    let mut world = World::new();
    world.ignored = vec![("dist", "dist"), ("", "*"), ("a.tmp", "*.tmp")];
    world.absent = vec!["dist"];
    let text = "FROM b AS x\nFROM b\nCOPY dist /\nADD ./a.tmp /\nCOPY . /\nCOPY other /\nCOPY --from=x dist /\n\
                ADD https://h/dist /";
    assert_eq!(found_in(&mut world, text), ["3 CopyIgnoredFile", "4 CopyIgnoredFile", "5 CopyIgnoredFile"]);
    let survey = world.survey(text, Extent::All);
    assert_eq!(survey.findings[0].notes, ["`.dockerignore:1` excludes it with `dist`"]);
    assert!(survey.errors.is_empty(), "what is not there yet is no mistake: {:?}", survey.errors);
}

#[test]
fn descriptions_are_judged_where_it_is_asked_for() {
    let text = "# check=experimental=InvalidDefinitionDescription\n\n# nope\nARG a\n# b is\nARG b\n# all the same\n# build it\n\
                FROM b AS build\n# wrong\n\nARG c\n# wrong\n#\nARG d\n# d or e\nARG d e\n# wrong\nFROM b\n# wrong\nFROM b AS y\n";
    assert_eq!(found(text), ["3 InvalidDefinitionDescription", "20 InvalidDefinitionDescription"]);
    assert_eq!(found(&text.replace("=InvalidDefinitionDescription", "=all")).len(), 2);
    assert_eq!(found(&text.replace("experimental", "skip")), NOTHING);
}

#[test]
fn rules_are_chosen() {
    let text = "FROM b AS X\nCMD x\n";
    assert_eq!(found(text), ["1 StageNameCasing", "2 JSONArgsRecommended"]);
    assert_eq!(found(&format!("# check=skip=StageNameCasing\n{text}")), ["3 JSONArgsRecommended"]);
    assert_eq!(found(&format!("# check=skip=StageNameCasing, JSONArgsRecommended\n{text}")), NOTHING);
    assert_eq!(found(&format!("# check=skip=all\n{text}")), NOTHING);
    // The build argument takes the directive's place.
    let mut world = World::new();
    world.options.build_args.insert("BUILDKIT_DOCKERFILE_CHECK".to_owned(), "skip=JSONArgsRecommended".to_owned());
    assert_eq!(found_in(&mut world, &format!("# check=skip=all\n{text}")), ["2 StageNameCasing"]);
    // A comment above an instruction speaks for it alone.
    assert_eq!(
        found("FROM b AS X\n# check=skip=JSONArgsRecommended\nCMD x\nENTRYPOINT y"),
        ["1 StageNameCasing", "4 JSONArgsRecommended"]
    );
    assert_eq!(found("# hello\n\n# check=skip=all\nFROM b AS X\nCMD x"), ["5 JSONArgsRecommended"]);
}

#[test]
fn rules_that_there_are_not() {
    let plan = World::new().plan("# check=skip=StageNameCase;error=true\nFROM b");
    let warning = &plan.warnings[0];
    assert_eq!(
        (warning.code, &*warning.message),
        ("UnknownRule", "`# check=` names the rule `StageNameCase`, which there is not")
    );
    assert_eq!(warning.hint.as_deref(), Some("did you mean `StageNameCasing`?"));
    let mistakes = World::new().mistakes("# check=skp=all\nFROM b");
    assert_eq!(mistakes, ["`# check=`: invalid check option `skp=all`: expected skip=, error= or experimental="]);
    let survey = World::new().survey("# check=error=maybe\nFROM b", Extent::All);
    assert_eq!(survey.errors[0].message, "`# check=`: invalid check option `error=maybe`: expected true or false");
}

#[test]
fn findings_are_warnings_of_a_plan_or_its_end() {
    let text = "FROM b AS X\nCMD x\nCMD y\n";
    let plan = World::new().plan(text);
    let codes: Vec<&str> = plan.warnings.iter().map(|w| w.code).collect();
    assert_eq!(
        codes,
        ["StageNameCasing", "JSONArgsRecommended", "MultipleInstructionsDisallowed", "JSONArgsRecommended"]
    );
    let found = World::new().try_plan(&format!("# check=error=true\n{text}")).expect_err("it is an error");
    let last = found.last().unwrap();
    assert!(last.is_error() && found.len() == 5);
    assert_eq!(
        last.message,
        "lint violation found for rules: JSONArgsRecommended, MultipleInstructionsDisallowed, StageNameCasing"
    );
    World::new().plan("# check=error=true\nFROM b");
    World::new().plan(&format!("# check=skip=all;error=true\n{text}"));
}

#[test]
fn only_what_is_looked_at_is_found() {
    let text = "FROM b AS x\nCMD x\nFROM b AS Y\nWORKDIR app\n";
    let mut world = World::new();
    assert_eq!(found_in(&mut world, text), ["2 JSONArgsRecommended", "3 StageNameCasing", "4 WorkdirRelativePath"]);
    // The text as a whole is looked at all the same.
    world.options.target = Some("x".to_owned());
    assert_eq!(found_in(&mut world, text), ["2 JSONArgsRecommended", "3 StageNameCasing"]);
    let codes: Vec<&str> = World::new().plan(text).warnings.iter().map(|w| w.code).collect();
    assert_eq!(codes, ["StageNameCasing", "WorkdirRelativePath"]);
}

#[test]
fn looking_needs_no_files_no_urls_and_no_secrets() {
    let mut world = World::new();
    let text = "FROM b\nCOPY a /\nADD https://h/x /\nADD https://h/y.git /z\nRUN --mount=type=secret,id=s,required \
                --mount=type=ssh,required --mount=type=bind,source=dist,target=/d x\nRUN --security=insecure x\n";
    assert!(world.survey(text, Extent::All).errors.is_empty());
    let asked = |q: &kiln_plan::Question| matches!(q, kiln_plan::Question::Image(_) | kiln_plan::Question::Excluded(_));
    assert!(world.asked.iter().all(asked), "{:?}", world.asked);
}

#[test]
fn there_is_an_end_to_findings() {
    let text = format!("FROM b\n{}", "run a\n".repeat(MAX_FINDINGS + 9) + &"RUN a\n".repeat(MAX_FINDINGS + 9));
    let survey = World::new().survey(&text, Extent::All);
    assert_eq!(survey.findings.len(), MAX_FINDINGS + 1);
    assert_eq!(survey.findings.last().unwrap().message, "9 more findings are not shown");
}

/// The examples of a page: bad, good.
fn examples(rule: &Rule) -> (String, String) {
    let mut fences =
        rule.page.split("```dockerfile\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    let (bad, good) = (fences.next().unwrap_or_default(), fences.next().unwrap_or_default());
    assert!(!bad.is_empty() && !good.is_empty() && fences.next().is_none(), "{}: two examples", rule.id);
    (bad, good)
}

#[test]
fn examples_of_pages_hold() {
    for rule in &RULES {
        let (bad, good) = examples(rule);
        let survey = |text: &str| {
            let mut world = World::new();
            if rule.id == "InvalidBaseImagePlatform" {
                world.options.platform = Platform::linux("arm64");
            }
            world.options.build_args.insert("TAG".to_owned(), "1.37".to_owned());
            if let Some(ignored) = rule.page.split("```dockerignore\n").nth(1) {
                assert!(ignored.starts_with("dist\n"));
                world.ignored = vec![("dist", "dist")];
            }
            let survey = world.survey(text, Extent::All);
            assert!(survey.errors.is_empty(), "{}: {:?}", rule.id, survey.errors);
            shown(&survey, text)
        };
        let found = survey(&bad);
        assert!(!found.is_empty(), "{}: the bad example is good", rule.id);
        let mark = format!(" {}:", rule.id);
        assert!(found.iter().all(|f| f.contains(&mark)), "{}: {found:?}", rule.id);
        assert_eq!(survey(&good), NOTHING, "{}", rule.id);
    }
}

#[test]
fn pages_are_made_alike() {
    for rule in &RULES {
        let head = format!("# {}\n\n", rule.id);
        assert!(rule.page.starts_with(&head), "{}: begins with its name", rule.id);
        for part in ["\n## Why\n", "\n## Bad\n", "\n## Good\n"] {
            assert_eq!(rule.page.matches(part).count(), 1, "{}: {part:?}", rule.id);
        }
        assert_eq!(rule.experimental, rule.page.contains("experimental="), "{}", rule.id);
        assert!(rule.page.lines().all(|line| line.chars().count() <= 100), "{}: a long line", rule.id);
    }
    let ids: std::collections::BTreeSet<&str> = RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(ids.len(), RULES.len());
}
