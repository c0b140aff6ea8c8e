//! `<<EOF`.

use kiln_spec::ast::{Command, Heredoc, Op, Run, Sourced};

use crate::{errors, one, op, parse};

fn run(text: &str) -> Run {
    match op(text) {
        Op::Run(run) => run,
        other => panic!("{other:?}"),
    }
}

fn only(text: &str) -> Heredoc {
    let mut heredocs = run(text).heredocs;
    assert_eq!(heredocs.len(), 1, "{text}");
    heredocs.remove(0)
}

#[test]
fn a_script() {
    let instruction = one("RUN <<EOF\n  # not a comment\n\n\techo \\\n$x\nEOF");
    assert_eq!(instruction.text, "RUN <<EOF");
    let Op::Run(run) = instruction.op else { panic!() };
    let Command::Shell(line) = &run.command else { panic!() };
    assert_eq!(line.text, "<<EOF");
    let heredoc = &run.heredocs[0];
    assert_eq!((heredoc.name.as_str(), heredoc.expand, heredoc.chomp, heredoc.fd), ("EOF", true, false, 0));
    assert_eq!(heredoc.body.text, "  # not a comment\n\n\techo \\\n$x\n");
}

#[test]
fn what_follows_is_parsed() {
    let text = "FROM a\nRUN <<EOF\na\nEOF\nRUN b\n";
    let file = parse(text);
    let instructions = &file.stages[0].instructions;
    assert_eq!(instructions.len(), 2);
    let span = instructions[0].span;
    assert_eq!(&text[span.start..span.end], "RUN <<EOF\na\nEOF");
}

#[test]
fn all_ways_to_write_the_delimiter() {
    for (text, name, expand) in [
        ("RUN <<EOF\nEOF", "EOF", true),
        ("RUN <<'EOF'\nEOF", "EOF", false),
        ("RUN <<\"EOF\"\nEOF", "EOF", false),
        ("RUN <<E'O'F\nEOF", "EOF", false),
        ("RUN <<eo\\'f\neo'f", "eo'f", true),
        ("RUN <<'one two'\none two", "one two", false),
        ("RUN <<$EOF\n$EOF", "$EOF", true),
        ("RUN << EOF > /x\nEOF", "EOF", true),
        ("RUN --mount=type=tmpfs,target=/t cat <<file.txt >/x\nfile.txt", "file.txt", true),
        ("RUN cat <<EOF>/x\nEOF>/x", "EOF>/x", true),
    ] {
        let heredoc = only(text);
        assert_eq!((heredoc.name.as_str(), heredoc.expand, heredoc.body.text.as_str()), (name, expand, ""), "{text}");
    }
    assert_eq!(only("RUN 3<<EOF\nx\nEOF").fd, 3);
}

#[test]
fn dash_strips_tabs() {
    let heredoc = only("RUN <<-EOF\n\t\ta\n\t b\n\tEOF");
    assert_eq!((heredoc.chomp, heredoc.body.text.as_str()), (true, "a\n b\n"));
    // Only before the terminator of `<<-` may tabs stand.
    assert_eq!(errors("FROM a\nRUN <<EOF\n\tEOF"), ["2:5 UnterminatedHeredoc: the heredoc `<<EOF` is not terminated"]);
}

#[test]
fn several_in_a_line() {
    let run = run("RUN paste <<A <<-'B'\n1\nA\n\t2\nB");
    let bodies: Vec<_> = run.heredocs.iter().map(|h| (h.name.as_str(), h.expand, h.body.text.as_str())).collect();
    assert_eq!(bodies, [("A", true, "1\n"), ("B", false, "2\n")]);
}

#[test]
fn carriage_returns_stay_in_the_body() {
    assert_eq!(only("RUN <<EOF\r\na\r\nEOF\r\n").body.text, "a\r\n");
}

#[test]
fn what_is_no_heredoc() {
    for text in [
        "RUN \"<<EOF\"",
        "RUN echo '<<EOF'",
        "RUN cat <<<EOF",
        "RUN [\"<<EOF\"]",
        "RUN echo it's <<EOF",
        "RUN echo $((1<<2))",
        "RUN cat <<",
        "RUN a \\<<EOF",
    ] {
        assert_eq!(run(text).heredocs, [], "{text}");
    }
    assert!(matches!(op("USER <<EOF"), Op::User(_)));
}

#[test]
fn inline_files() {
    let Op::Copy(copy) = op("COPY --chmod=600 <<a.txt b <<'c' /d/\nx\na.txt\ny\nc") else { panic!() };
    let sources: Vec<_> = copy
        .files
        .sources
        .iter()
        .map(|source| match source {
            Sourced::Path(word) => word.text.clone(),
            Sourced::Heredoc(heredoc) => format!("{}:{}:{}", heredoc.name, heredoc.expand, heredoc.body.text.trim()),
        })
        .collect();
    assert_eq!(sources, ["a.txt:true:x", "b", "c:false:y"]);
    assert_eq!(copy.files.dest.text, "/d/");
    assert!(matches!(op("ADD <<x /y\nx"), Op::Add(_)));
}

#[test]
fn wrong_inline_files() {
    assert_eq!(errors("FROM a\nCOPY b <<EOF\nEOF"), ["2:8 InvalidHeredoc: a heredoc cannot be the destination"]);
    assert_eq!(
        errors("FROM a\nCOPY << EOF /x\nEOF"),
        ["2:1 InvalidHeredoc: the heredoc `EOF` is no source of its own"]
    );
    assert_eq!(errors("FROM a\nCOPY it's <<EOF /x"), ["2:11 InvalidHeredoc: the heredoc `<<EOF` is not read"]);
    assert_eq!(
        errors("FROM a\nRUN b\nCOPY <<EOF /x\nfoo\nRUN c\n"),
        ["3:6 UnterminatedHeredoc: the heredoc `<<EOF` is not terminated"]
    );
}
