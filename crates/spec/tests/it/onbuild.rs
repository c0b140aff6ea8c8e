//! `ONBUILD`, written and read back.

use kiln_spec::ast::Op;
use kiln_spec::dockerfile::parse_onbuild;

use crate::{errors_of, op};

#[test]
fn the_text_is_kept_and_parsed() {
    let Op::Onbuild { text, instruction } = op("onbuild   RUN a \\\n  b") else { panic!() };
    assert_eq!(text.text, "RUN a   b");
    assert_eq!(instruction.text, "RUN a   b");
    assert!(matches!(instruction.op, Op::Run(_)));
    let Op::Onbuild { instruction, .. } = op("ONBUILD COPY --from=x a /b") else { panic!() };
    let Op::Copy(copy) = instruction.op else { panic!() };
    assert_eq!(copy.from.unwrap().text, "x");
}

#[test]
fn heredocs_survive_the_trip() {
    let Op::Onbuild { text, instruction } = op("ONBUILD RUN cat <<-EOF <<B\n\tx\n\tEOF\ny\nB\n") else { panic!() };
    assert_eq!(text.text, "RUN cat <<-EOF <<B\n\tx\nEOF\ny\nB");
    let (source, again, diagnostics) = parse_onbuild(&text.text, "ONBUILD of x");
    assert_eq!((diagnostics, source.name.as_str()), (vec![], "ONBUILD of x"));
    let (Op::Run(first), Op::Run(again)) = (instruction.op, again.unwrap().op) else { panic!() };
    let bodies = |run: &kiln_spec::ast::Run| run.heredocs.iter().map(|h| h.body.text.clone()).collect::<Vec<_>>();
    assert_eq!(bodies(&first), ["x\n", "y\n"]);
    assert_eq!(bodies(&first), bodies(&again));
}

#[test]
fn what_cannot_be_a_trigger() {
    assert_eq!(errors_of("ONBUILD"), ["1 MissingArgument: `ONBUILD` needs an instruction"]);
    assert_eq!(errors_of("ONBUILD ONBUILD RUN x"), ["9 InvalidOnbuild: `ONBUILD ONBUILD` is not allowed"]);
    assert_eq!(errors_of("ONBUILD from x"), ["9 InvalidOnbuild: `FROM` is not allowed in `ONBUILD`"]);
    assert_eq!(errors_of("ONBUILD MAINTAINER x"), ["9 InvalidOnbuild: `MAINTAINER` is not allowed in `ONBUILD`"]);
    assert_eq!(errors_of("ONBUILD RUNN x"), ["9 UnknownInstruction: unknown instruction `RUNN`"]);
    assert_eq!(errors_of("ONBUILD --x RUN x"), ["9 UnknownFlag: `ONBUILD` has no flag `--x`"]);
    assert_eq!(errors_of("ONBUILD COPY x"), ["9 MissingArgument: `COPY` needs a source and a destination"]);
}

#[test]
fn triggers_of_base_images() {
    let codes = |text: &str| {
        let (_, instruction, diagnostics) = parse_onbuild(text, "base");
        (instruction.is_some(), diagnostics.iter().map(|diagnostic| diagnostic.code).collect::<Vec<_>>())
    };
    assert_eq!(codes("RUN x"), (true, vec![]));
    assert_eq!(codes("FROM x"), (false, vec!["InvalidOnbuild"]));
    assert_eq!(codes("ONBUILD RUN x"), (false, vec!["InvalidOnbuild"]));
    assert_eq!(codes("RUN x\nRUN y"), (false, vec!["InvalidOnbuild"]));
    assert_eq!(codes(""), (false, vec!["InvalidOnbuild"]));
    assert_eq!(codes("RUN <<EOF\nx"), (false, vec!["UnterminatedHeredoc"]));
    assert_eq!(codes("BOGUS"), (false, vec!["UnknownInstruction"]));
}
