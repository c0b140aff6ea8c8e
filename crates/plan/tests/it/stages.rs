//! Stages: which are needed, what they inherit, what makes their keys.

use kiln_plan::options::{NamedContext, NoCache};
use kiln_plan::{Op, Plan, Question, explain};

use crate::{World, history, last, plan};

fn titles(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().map(|s| s.title.lines().next().unwrap_or("")).collect()
}

#[test]
fn only_needed_stages_are_planned() {
    let mut w = World::new();
    let p = w.plan("FROM base AS a\nRUN a\nFROM base AS unused\nCOPY nothing-there /\nRUN u\nFROM a\nRUN c");
    assert!(!titles(&p).iter().any(|t| t.contains("RUN u")));
    assert!(
        !w.asked.iter().any(|q| matches!(q, Question::Files(_))),
        "the context of an unneeded stage is not looked at"
    );
    assert_eq!(titles(&p)[1..], ["[a 2/2] RUN a", "[stage-2 1/1] RUN c"]);
}

#[test]
fn target_selects_a_stage_by_name_or_number() {
    for target in ["A", "a", "0"] {
        let mut w = World::new();
        w.options.target = Some(target.into());
        let p = w.plan("FROM base AS A\nRUN a\nFROM base\nRUN b");
        assert_eq!(history(&p), ["RUN /bin/sh -c a # buildkit"]);
    }
}

#[test]
fn copy_from_reads_a_stage_by_name_index_or_image() {
    let p =
        plan("FROM base AS b\nRUN x\nFROM scratch\nCOPY --from=B /a /a\nCOPY --from=0 /b /b\nCOPY --from=other /c /c");
    let reads: Vec<usize> = p.steps.iter().filter(|s| matches!(s.op, Op::Copy(_))).map(|s| s.reads[0].0).collect();
    assert_eq!(reads[0], reads[1]);
    assert!(matches!(p.steps[reads[2]].op, Op::Image(_)));
    assert!(matches!(p.steps[p.steps[p.result.0].parent.unwrap().0].op, Op::Copy(_)));
}

#[test]
fn a_stage_inherits_environment_arguments_and_working_directory() {
    let p = plan("FROM base AS a\nARG X=1\nENV Y=2\nWORKDIR /w\nUSER u\nFROM a\nRUN z\nCOPY f g");
    let run = p.steps.iter().find_map(|s| match &s.op {
        Op::Run(r) => Some(r),
        _ => None,
    });
    let run = run.unwrap();
    assert!(run.env.contains(&("X".into(), "1".into())) && run.env.contains(&("Y".into(), "2".into())));
    assert_eq!((&*run.cwd, &*run.user), ("/w", "u"));
    let Op::Copy(copy) = last(&p) else { panic!() };
    assert_eq!(copy.dest, "/w/g");
}

#[test]
fn triggers_of_the_base_run_first_and_are_spent() {
    let mut w = World::new();
    w.base.config.on_build = vec!["ENV T=1".into(), "RUN trigger".into()];
    let p = w.plan("FROM base\nRUN after");
    assert_eq!(history(&p), ["ENV T=1", "RUN /bin/sh -c trigger # buildkit", "RUN /bin/sh -c after # buildkit"]);
    assert!(p.config.config.on_build.is_empty());
    assert_eq!(titles(&p)[1..], ["[2/3] ONBUILD RUN trigger", "[3/3] RUN after"]);
    // A stage of the same file passes its triggers on, too.
    let p = plan("FROM base AS a\nONBUILD RUN t\nFROM a AS b\nRUN x\nFROM b\nRUN y");
    assert_eq!(history(&p).iter().filter(|h| h.contains("-c t ")).count(), 1);
}

#[test]
fn keys_change_with_what_matters_only() {
    let key = |text: &str| {
        let p = plan(text);
        p.step(p.result).key
    };
    let base = key("FROM base\nRUN make");
    assert_eq!(base, key("FROM base AS named\n# comment\nrun make"));
    assert_eq!(base, key("FROM base\nLABEL a=b\nRUN make"), "metadata is no input of a command");
    assert_ne!(base, key("FROM base\nENV a=b\nRUN make"));
    assert_ne!(base, key("FROM base\nUSER 1\nRUN make"));
    assert_ne!(base, key("FROM base\nRUN true\nRUN make"));
    assert_ne!(base, key("FROM base\nRUN --network=none make"));
    assert_eq!(key("FROM base\nRUN a\nCOPY --link f /"), key("FROM scratch\nCOPY --link f /"));
    assert_ne!(key("FROM base\nCOPY f /"), key("FROM base\nCOPY g /"));
    assert_ne!(key("FROM base\nCOPY f /"), key("FROM base\nADD f /"));
}

#[test]
fn no_cache_is_per_stage() {
    let mut w = World::new();
    w.options.no_cache = NoCache::Stages(["b".to_owned()].into());
    let p = w.plan("FROM base AS a\nRUN a\nFROM a AS b\nRUN b");
    let flags: Vec<bool> = p.steps.iter().map(|s| s.no_cache).collect();
    assert_eq!(flags, [false, false, true]);
}

#[test]
fn named_contexts_replace_images_and_stages() {
    let mut w = World::new();
    w.options.contexts.insert("base".into(), NamedContext::Image("pinned:1".into()));
    w.options.contexts.insert("src".into(), NamedContext::Dir);
    let p = w.plan("FROM base\nCOPY --from=src a /a");
    let images: Vec<&Question> = w.asked.iter().filter(|q| matches!(q, Question::Image(_))).collect();
    assert_eq!(images.len(), 1);
    assert!(format!("{:?}", images[0]).contains("pinned:1"));
    assert!(p.steps.iter().all(|s| s.reads.is_empty()));
}

#[test]
fn platforms_of_stages() {
    let mut w = World::new();
    w.options.platform = "linux/arm64".parse().unwrap();
    w.plan("FROM --platform=$BUILDPLATFORM base AS b\nRUN x\nFROM base\nCOPY --from=b /a /a");
    let asked: Vec<String> = w
        .asked
        .iter()
        .filter_map(|q| match q {
            Question::Image(q) => Some(q.platform.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(asked, ["linux/amd64", "linux/arm64"]);
}

#[test]
fn a_plan_prints_itself_the_same_every_time() {
    let text = "FROM base AS b\nRUN x\nFROM scratch\nCOPY --from=b /a /a";
    let (one, two) = (plan(text), plan(text));
    assert_eq!(explain::text(&one), explain::text(&two));
    assert_eq!(explain::json(&one), explain::json(&two));
    assert!(explain::text(&one).contains("COPY --from=b /a /a"));
}

#[test]
fn ten_thousand_stages() {
    let text: String = (0..10_000).map(|i| format!("FROM scratch AS s{i}\nLABEL a={i}\n")).collect();
    assert_eq!(history(&plan(&text)), ["LABEL a=9999"]);
    let chained: String = (1..2_000).map(|i| format!("FROM s{} AS s{i}\nLABEL a={i}\n", i - 1)).collect();
    assert_eq!(history(&plan(&format!("FROM scratch AS s0\n{chained}"))).len(), 1999);
}
