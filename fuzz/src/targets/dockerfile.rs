//! Dockerfiles and Kubefiles, from text to plan: places lie in the text, messages can be shown, equal input gives equal output.

use kiln_oci::{Descriptor, Digest, ImageConfig, Platform, media};
use kiln_plan::facts::{Facts, FilesFact, GitFact, HttpFact, ImageFact, Key32, Question};
use kiln_plan::{Options, Outcome, explain};
use kiln_spec::ast::Dockerfile;
use kiln_spec::diag::{Diagnostic, render};
use kiln_spec::dockerfile;
use kiln_spec::kubefile::{self, Dialect};
use kiln_spec::source::{Source, Span};

use super::text;

/// More rounds of questions than this are a planner that never ends.
const MAX_ROUNDS: usize = 64;

/// Parses, shows what is wrong, and plans what is not.
pub fn run(bytes: &[u8]) {
    let source = Source { name: "Dockerfile".to_owned(), text: text(bytes) };
    let (file, found) = dockerfile::parse(&source);
    check(&source, &found);
    for instruction in file.global_args.iter().chain(file.stages.iter().flat_map(|s| &s.instructions)) {
        check_span(&source.text, instruction.span);
        check_span(&source.text, instruction.keyword.span);
    }
    assert!(!file.stages.is_empty() || found.iter().any(Diagnostic::is_error), "a file of no stages is a mistake");
    let (again, twice) = dockerfile::parse(&source);
    assert!(again == file && twice == found, "parsing is a function");
    if !found.iter().any(Diagnostic::is_error) {
        let first = plan(&source, &file);
        assert_eq!(first, plan(&source, &file), "planning is a function");
    }
    kubefiles(&source);
    let (trigger_source, instruction, found) = dockerfile::parse_onbuild(&source.text, "trigger");
    check(&trigger_source, &found);
    assert!(instruction.is_some() || found.iter().any(Diagnostic::is_error), "nothing is dropped silently");
}

/// The same text as a Kubefile, in every dialect.
fn kubefiles(source: &Source) {
    for dialect in Dialect::ALL {
        let (file, found) = kubefile::parse(source, Some(dialect));
        check(source, &found);
        assert!(kubefile::parse(source, Some(dialect)) == (file.clone(), found.clone()), "parsing is a function");
        for instruction in file.dockerfile.stages.iter().flat_map(|s| &s.instructions) {
            check_span(&source.text, instruction.span);
        }
        if !found.iter().any(Diagnostic::is_error) {
            plan(source, &file.dockerfile);
        }
    }
}

fn check(source: &Source, diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        check_span(&source.text, diagnostic.span);
        for color in [false, true] {
            let shown = render(diagnostic, source, color);
            let unsafe_char = |c: char| c.is_control() && c != '\n' && !(color && c == '\u{1b}');
            assert!(!shown.contains(unsafe_char), "a message drives the terminal: {shown:?}");
        }
    }
}

fn check_span(text: &str, Span { start, end }: Span) {
    assert!(start <= end && end <= text.len(), "{start}..{end} in {} bytes", text.len());
    assert!(text.is_char_boundary(start) && text.is_char_boundary(end), "{start}..{end} cuts a character");
}

/// The plan as text in a world where everything there is to ask for exists; `None` with mistakes.
fn plan(source: &Source, file: &Dockerfile) -> Option<String> {
    let options = Options::new(Platform::linux("amd64"));
    let mut facts = Facts::default();
    for _ in 0..MAX_ROUNDS {
        match kiln_plan::build(file, &options, &facts) {
            Ok(Outcome::Plan(plan)) => return Some(explain::text(&plan)),
            Ok(Outcome::Questions(questions)) => {
                assert!(!questions.is_empty(), "neither plan nor questions");
                questions.into_iter().for_each(|question| answer(question, &mut facts));
            }
            Err(mistakes) => {
                assert!(!mistakes.is_empty(), "an error says why");
                check(source, &mistakes);
                return None;
            }
        }
    }
    panic!("the planner asks for ever");
}

fn answer(question: Question, facts: &mut Facts) {
    match question {
        Question::Image(query) => {
            let mut config = ImageConfig::scratch(&query.platform);
            config.rootfs.diff_ids = vec![Digest::of(b"base")];
            let layers = vec![Descriptor::of(media::OCI_LAYER_GZIP, b"blob")];
            let name = format!("{:?}", query.name);
            facts.images.insert(query, ImageFact { digest: Digest::of(name.as_bytes()), name, config, layers });
        }
        Question::Files(query) => {
            facts.files.insert(query, FilesFact { hash: Key32([7; 32]), missing: Vec::new(), count: 0 });
        }
        Question::Http(query) => {
            let fact = HttpFact { digest: Digest::of(query.url.as_bytes()), size: 3, last_modified: Some(7) };
            facts.http.insert(query, fact);
        }
        Question::Excluded(query) => drop(facts.excluded.insert(query, None)),
        Question::Git(query) => drop(facts.git.insert(query, GitFact { commit: "0123456789".repeat(4) })),
    }
}
