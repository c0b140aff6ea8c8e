//! Big inputs: a quadratic step anywhere would make these take hours.

use kiln_spec::diag::render;
use kiln_spec::dockerfile;
use kiln_spec::dockerignore::Ignore;

use crate::{errors, parse, source};

#[test]
fn ten_thousand_stages() {
    let text: String = (0..10_000).map(|i| format!("FROM s{} AS s{i}\nRUN x\nCMD y\n", i.max(1) - 1)).collect();
    assert_eq!(parse(&text).stages.len(), 10_000);
}

#[test]
fn one_line_of_64_mib() {
    let text = format!("FROM a\nRUN {}", "x ".repeat((32 << 20) - 10));
    let file = parse(&text);
    assert_eq!(file.stages[0].instructions.len(), 1);
    assert_eq!(errors(&format!("{text}{}", "x".repeat(100))), ["1:1 TooLong: the Dockerfile is larger than 64 MiB"]);
}

#[test]
fn a_mistake_in_a_long_line_is_shown_briefly() {
    let source = source(&format!("FROM a\nCOPY --x={} a b", "é".repeat(1 << 20)));
    let (_, diagnostics) = dockerfile::parse(&source);
    assert_eq!(diagnostics.len(), 1);
    assert!(render(&diagnostics[0], &source, false).len() < 2000);
}

#[test]
fn a_million_continuations() {
    let text = format!("FROM a\nRUN x{}\n", " \\\n y".repeat(1_000_000));
    assert_eq!(parse(&text).stages[0].instructions[0].text.len(), "RUN x".len() + 3_000_000);
    let text = format!("FROM a\nRUN x \\\n{} y", "# comment\n\n".repeat(1_000_000));
    assert_eq!(parse(&text).stages[0].instructions.len(), 1);
}

#[test]
fn too_many_of_everything() {
    let many = "a=b ".repeat(100_001);
    for text in [
        format!("ENV {many}"),
        format!("ARG {many}"),
        format!("EXPOSE {many}"),
        format!("COPY {many}"),
        format!("VOLUME [\"a\"{}]", ",\"a\"".repeat(100_001)),
        format!("RUN {} x", "--mount=type=ssh ".repeat(100_001)),
    ] {
        let errors = errors(&format!("FROM a\n{text}"));
        assert!(errors[0].contains("TooManyArguments"), "{errors:?}");
    }
    let errors = errors(&format!("FROM a\n{}", "RUN a\n".repeat(200_001)));
    assert_eq!(errors, ["200001:1 TooLong: the Dockerfile has more than 200000 instructions"]);
}

#[test]
fn many_mistakes_are_reported_in_part() {
    let errors = errors(&format!("FROM a\n{}", "X\n".repeat(100_000)));
    assert_eq!(errors.len(), 100);
}

#[test]
fn unterminated_heredocs() {
    let text = format!("FROM a\n{}", "RUN <<EOF\n".repeat(100_000));
    assert_eq!(errors(&text).len(), 1);
    let text = format!("FROM a\nRUN {}\n{}", "<<A ".repeat(10_000), "A\n".repeat(10_000));
    assert_eq!(parse(&text).stages[0].instructions.len(), 1);
}

#[test]
fn a_hundred_thousand_paths() {
    let rules: String = (0..200).map(|i| format!("**/dir{i}/*.o\n")).collect();
    let ignore = Ignore::parse(rules + "node_modules\n**/*.pyc\n!keep\n").0;
    let root = ignore.root();
    let mut count = 0;
    for dir in 0..1000 {
        let dir = format!("d{dir}");
        let below = ignore.enter(&dir, &root).1;
        count += (0..100).filter(|i| ignore.matches_in(format!("{dir}/f{i}.pyc"), &below)).count();
    }
    assert_eq!(count, 100_000);
}
