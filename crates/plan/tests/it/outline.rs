//! What can be said about a build without building it.

use kiln_plan::Extent;
use kiln_plan::container::Outline;

use crate::World;

fn outline(world: &mut World, text: &str) -> Outline {
    let survey = world.survey(text, Extent::Target);
    assert!(survey.errors.is_empty(), "{:?}", survey.errors);
    survey.outline
}

/// `name=value: description`, each.
fn args(outline: &Outline) -> Vec<String> {
    let show = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    outline.args.iter().map(|a| format!("{}={}: {}", a.name, show(&a.value), show(&a.description))).collect()
}

const TEXT: &str = "\
# VARIANT which Debian
ARG VARIANT=bookworm
ARG SUFFIX=-slim
ARG TAG=$VARIANT$SUFFIX
ARG UNUSED=1
# base has the tools
FROM debian:$TAG AS base
# VERSION of the tools
ARG VERSION=1.2
ARG TARGETARCH
RUN --mount=type=cache,target=/c --mount=type=secret,id=token,required x

FROM other AS elsewhere
ARG NOT_NEEDED

# test runs the tests
FROM base AS test
ARG UNUSED
ARG VERSION=${VERSION}3
ARG FLAGS
RUN --mount=type=ssh --mount=type=secret,id=token --mount=type=cache,id=go,target=/g y
";

#[test]
fn of_the_last_stage() {
    let outline = outline(&mut World::new(), TEXT);
    assert_eq!((outline.name.as_deref(), outline.description.as_deref()), (Some("test"), Some("runs the tests")));
    assert_eq!(
        args(&outline),
        [
            "VARIANT=bookworm: which Debian",
            "SUFFIX=-slim: -",
            "TAG=bookworm-slim: -",
            "UNUSED=1: -",
            "VERSION=1.23: -",
            "FLAGS=-: -",
        ]
    );
    let needed =
        |list: &[kiln_plan::container::Needed]| list.iter().map(|n| (n.id.clone(), n.required)).collect::<Vec<_>>();
    assert_eq!(needed(&outline.secrets), [("token".to_owned(), true)]);
    assert_eq!(needed(&outline.ssh), [("default".to_owned(), false)]);
    assert_eq!(outline.caches.iter().map(|c| &*c.id).collect::<Vec<_>>(), ["/c", "go"]);
}

#[test]
fn of_a_target_with_arguments_given() {
    let mut world = World::new();
    world.options.target = Some("base".to_owned());
    world.options.build_args.insert("TAG".to_owned(), "sid".to_owned());
    let outline = outline(&mut world, TEXT);
    assert_eq!(args(&outline), ["TAG=sid: -", "VERSION=1.2: of the tools"]);
    assert_eq!(outline.description.as_deref(), Some("has the tools"));
    assert!(outline.ssh.is_empty());
}

#[test]
fn of_a_stage_without_a_name() {
    let outline = outline(&mut World::new(), "# not a description\nFROM scratch\n");
    assert_eq!(outline, Outline::default());
}
