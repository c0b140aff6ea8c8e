//! Lists of images.

use super::{ignoring, listed, same, show, source};
use kiln_manifests::{Ignore, image_list};

#[test]
fn a_list_has_one_image_a_line_with_comments_and_quotes() {
    same(
        &listed("\u{feff}nginx:latest\r\n# a comment\r\n\r\n  'mysql:5.6'   # why\n\"quay.io/a/b\"\nr.io:5000/x\n"),
        "+ 1:2 nginx:latest  [list-file]
        + 4:4 mysql:5.6  [list-file]
        + 5:2 quay.io/a/b  [list-file]
        + 6:1 r.io:5000/x  [list-file]",
    );
}

#[test]
fn a_line_may_say_for_which_platforms() {
    same(
        &listed("--platform=linux/arm64,linux/amd64 a:1\n--platform=linux/mips a:2\n--platform=plan9 b\n"),
        "+ 1:36 a:1  [list-file] for linux/arm64 for linux/amd64
        + 2:23 a:2  [list-file] for linux/mips
        + 3:18 b  [list-file]
        E BadPlatform `plan9` is not a platform: expected os/architecture[/variant], such as linux/amd64 or linux/arm/v7",
    );
}

#[test]
fn bad_lines_are_errors() {
    same(
        &listed("a b\n--arch=x c\n--platform=linux/amd64\nnot::one\n"),
        "+ 1:1 a  [list-file]
        + 2:10 c  [list-file]
        E BadImageList `b`: there is one image a line
        E BadImageList `--arch=x` is not an option of a line of this list
        E BadImageList this line names no image
        E BadImage `not::one` is not an image reference: `not:` is not a valid part of a repository name",
    );
}

#[test]
fn ignored_lines_are_said() {
    same(&show(&image_list(&source("a:1\nb:2\n"), &ignoring("b:*"))), "+ 1:1 a:1  [list-file]\n- 2:1 b:2 by 0");
}

#[test]
fn bad_patterns_are_errors_with_their_line() {
    let (ignore, wrong) = Ignore::parse(&source("good\n# x\n[a*\n"));
    assert_eq!(ignore.entries().collect::<Vec<_>>(), ["good"]);
    assert_eq!(
        (wrong.len(), wrong[0].code, source("good\n# x\n[a*\n").position(wrong[0].span.start)),
        (1, "BadPattern", (3, 1))
    );
}
