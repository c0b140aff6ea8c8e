//! Source text in its canonical form: two spaces a level, one around operators, equals signs and comments of neighbouring
//! lines below each other. Only spaces change; comments, line breaks and texts stay.

use kiln_spec::diag::Diagnostic;

use crate::lexer::{Kind, Token, tokens};
use crate::parser;

/// A token, and how many spaces stand before it.
struct Piece<'t> {
    kind: Kind,
    text: &'t str,
    spaces: usize,
}

/// A line in the cells that are aligned.
#[derive(Default)]
struct Line<'t> {
    lead: Vec<Piece<'t>>,
    assign: Vec<Piece<'t>>,
    comment: Vec<Piece<'t>>,
    /// `\n`, `\r\n`, or nothing at the end of the text.
    end: &'t str,
}

/// `text` in canonical form.
///
/// # Errors
/// When it cannot be parsed: nothing is guessed then.
pub fn format(text: &str) -> Result<String, Vec<Diagnostic>> {
    let (_, faults) = parser::parse(text);
    if !faults.is_empty() {
        return Err(faults);
    }
    let (tokens, _) = tokens(text);
    let mut lines = split(text, &tokens);
    indent(&mut lines);
    for line in &mut lines {
        space(&mut line.lead);
        space(&mut line.assign);
    }
    lines.iter_mut().for_each(cells);
    align(&mut lines, |line| !line.assign.is_empty(), |line| columns(&line.lead), |line| &mut line.assign);
    let before_comment = |line: &Line<'_>| columns(&line.lead) + columns(&line.assign);
    align(&mut lines, |line| !line.comment.is_empty(), before_comment, |line| &mut line.comment);
    Ok(write(&lines, text))
}

fn split<'t>(text: &'t str, tokens: &[Token]) -> Vec<Line<'t>> {
    let mut lines = vec![Line::default()];
    // Newlines within a template belong to the line the template is in.
    let mut templates = 0_usize;
    for token in tokens {
        let written = &text[token.span.start..token.span.end];
        match token.kind {
            Kind::End => continue,
            Kind::OpenHeredoc | Kind::OpenQuote => templates += 1,
            Kind::CloseHeredoc | Kind::CloseQuote => templates = templates.saturating_sub(1),
            _ => {}
        }
        let Some(line) = lines.last_mut() else { continue };
        if token.kind == Kind::Newline && templates == 0 {
            line.end = written;
            lines.push(Line::default());
        } else {
            line.lead.push(Piece { kind: token.kind, text: written, spaces: 0 });
        }
    }
    lines
}

/// Moves what is aligned out of the lead: a comment at the end, and what is assigned when it ends on the same line.
fn cells(line: &mut Line<'_>) {
    if line.lead.len() > 1 && line.lead.last().is_some_and(|piece| piece.kind == Kind::Comment) {
        line.comment.extend(line.lead.pop());
    }
    let equals = line.lead.iter().skip(1).position(|piece| piece.kind == Kind::Op("="));
    let whole = |at: &usize| line.lead[*at..].iter().map(change).sum::<isize>() == 0;
    if let Some(at) = equals.map(|at| at + 1).filter(whole) {
        line.assign = line.lead.split_off(at);
    }
}

/// How many brackets a token opens, less what it closes.
fn change(piece: &Piece<'_>) -> isize {
    match piece.kind {
        Kind::Op("{" | "[" | "(") | Kind::Interpolation | Kind::Control => 1,
        Kind::Op("}" | "]" | ")") | Kind::SequenceEnd => -1,
        _ => 0,
    }
}

fn indent(lines: &mut [Line<'_>]) {
    // How many brackets each level of indentation stands for.
    let mut levels: Vec<isize> = Vec::new();
    for line in lines {
        let net: isize = line.lead.iter().map(change).sum();
        let mut closed = (-net).max(0);
        while let Some(level) = levels.last_mut().filter(|_| closed > 0) {
            let both = closed.min(*level);
            *level -= both;
            closed -= both;
            if *level == 0 {
                levels.pop();
            }
        }
        if let Some(first) = line.lead.first_mut() {
            first.spaces = levels.len() * 2;
        }
        if net > 0 {
            levels.push(net);
        }
    }
}

fn space(pieces: &mut [Piece<'_>]) {
    for at in 1..pieces.len() {
        let before = if at >= 2 { Some(&pieces[at - 2]) } else { None };
        pieces[at].spaces = usize::from(has_space(&pieces[at - 1], before, &pieces[at]));
    }
}

/// Whether a space stands between `left` and `right`; `before` is what comes before `left`.
fn has_space(left: &Piece<'_>, before: Option<&Piece<'_>>, right: &Piece<'_>) -> bool {
    use Kind::{
        CloseHeredoc, CloseQuote, Control, HeredocText, Ident, Interpolation, Newline, Number, Op, OpenHeredoc,
        OpenQuote, QuotedText,
    };
    let before = before.map(|piece| piece.kind);
    match (left.kind, right.kind) {
        (_, Newline) => false,
        (Ident, Op("(")) => false,
        (Op("."), _) | (_, Op(".")) => false,
        (_, Op("," | "...")) => false,
        (Op(","), _) => true,
        (QuotedText | HeredocText | OpenQuote | OpenHeredoc, _) => false,
        (_, QuotedText | HeredocText | CloseQuote | CloseHeredoc) => false,
        (Ident, _) if left.text == "in" && before == Some(Ident) => true,
        (Ident | Number | Op("]" | ")" | "}") | Kind::SequenceEnd, Op("[")) => false,
        (Op("-"), _) => !matches!(
            before,
            None | Some(
                Op("("
                    | "{"
                    | "["
                    | "="
                    | ":"
                    | ","
                    | "?"
                    | "+"
                    | "-"
                    | "*"
                    | "/"
                    | "%"
                    | "=="
                    | "!="
                    | "<"
                    | ">"
                    | "<="
                    | ">="
                    | "&&"
                    | "||"
                    | "!"
                    | "=>")
                    | Interpolation
                    | Control
            )
        ),
        (Op("!"), _) => false,
        (Op("{"), Op("}")) => false,
        (Op("{"), _) | (_, Op("}")) => true,
        (Interpolation | Control, Op("{")) => true,
        (Op("[" | "(") | Interpolation | Control, _) => false,
        (_, Op("]" | ")") | Kind::SequenceEnd) => false,
        _ => true,
    }
}

fn columns(pieces: &[Piece<'_>]) -> usize {
    let width = |piece: &Piece<'_>| {
        // Of a heredoc only the first line is in the way.
        piece.spaces + unicode_segmentation::UnicodeSegmentation::graphemes(piece.text, true).count()
    };
    pieces.iter().map(width).sum()
}

/// Puts a cell of neighbouring lines which have it in one column.
fn align<'t>(
    lines: &mut [Line<'t>],
    has: impl Fn(&Line<'t>) -> bool,
    before: impl Fn(&Line<'t>) -> usize,
    cell: impl for<'l> Fn(&'l mut Line<'t>) -> &'l mut Vec<Piece<'t>>,
) {
    for run in lines.chunk_by_mut(|a, b| has(a) && has(b)) {
        if !run.first().is_some_and(&has) {
            continue;
        }
        let widest = run.iter().map(&before).max().unwrap_or(0);
        for line in run {
            let spaces = widest - before(line) + 1;
            if let Some(first) = cell(line).first_mut() {
                first.spaces = spaces;
            }
        }
    }
}

fn write(lines: &[Line<'_>], text: &str) -> String {
    let mut result = String::with_capacity(text.len() + text.len() / 8);
    for line in lines {
        for piece in line.lead.iter().chain(&line.assign).chain(&line.comment) {
            result.extend(std::iter::repeat_n(' ', piece.spaces));
            result.push_str(piece.text);
        }
        result.push_str(line.end);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::format;

    #[test]
    fn aligns_and_indents() {
        let text = "a=1 # one\nbbb  = [ 1,2 , -3 ]   # three\n\nx \"y\"  z{\nq=\"${ f( 1 )}\"\nlong = {\na=1\n}\n}\n";
        let want = "a   = 1          # one\nbbb = [1, 2, -3] # three\n\nx \"y\" z {\n  q = \"${f(1)}\"\n  long = {\n    a = 1\n  }\n}\n";
        assert_eq!(format(text).unwrap(), want);
        assert_eq!(format(want).unwrap(), want);
    }

    #[test]
    fn leaves_heredocs_alone_and_refuses_what_is_no_hcl() {
        let text = "a = <<-E\n   x  ${ 1 }\n  E\n";
        assert_eq!(format(text).unwrap(), "a = <<-E\n   x  ${1}\n  E\n");
        assert!(format("a = [").is_err());
    }
}
