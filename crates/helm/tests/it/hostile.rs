//! What strangers may send: each has its limit, and says so.

use flate2::Compression;
use flate2::write::GzEncoder;
use kiln_helm::{Chart, ChartError, Files, MAX_FILE, Values};

fn fails(template: &str) -> String {
    super::text(template, "").expect_err("it is a mistake")
}

#[test]
fn large_things_are_refused() {
    for (template, said) in [
        ("{{ until 1000000000 }}", "the list grows beyond"),
        ("{{ untilStep 0 9000000000000000000 1 }}", "the list grows beyond"),
        ("{{ repeat 1000000000 \"x\" }}", "the text grows beyond"),
        ("{{ indent 1000000000 \"x\" }}", "the text grows beyond"),
        ("{{ $s := repeat 1000000 \"aa\" }}{{ replace \"a\" $s $s }}", "the text grows beyond"),
        ("{{ $s := repeat 10000000 \"a\" }}{{ join $s (until 10000) }}", "the text grows beyond"),
        ("{{ $l := list 1 }}{{ range until 60 }}{{ $l = concat $l $l }}{{ end }}", "the list grows beyond"),
        ("{{ $l := list 1 }}{{ range until 60 }}{{ $l = list $l $l }}{{ end }}{{ mustToJson $l }}", "too large"),
        ("{{ $d := dict }}{{ $_ := set $d \"d\" $d }}{{ mustToYaml $d }}", "holds itself"),
        ("{{ $d := dict }}{{ $_ := set $d \"d\" $d }}{{ $d }}", "holds itself"),
        ("{{ $d := dict }}{{ $_ := set $d \"d\" $d }}{{ deepCopy $d }}", "holds itself"),
        ("{{ range until 1000000 }}{{ range until 1000000 }}{{ end }}{{ end }}", "steps"),
        ("{{ range until 1000 }}{{ repeat 1000000 \"x\" }}{{ end }}", "bytes of output"),
        ("{{ regexReplaceAll \".\" (repeat 100000 \"x\") (repeat 100000 \"y\") }}", "the text grows beyond"),
        ("{{ randAlphaNum 100000000 }}", "the text grows beyond"),
    ] {
        let error = fails(template);
        assert!(error.contains(said), "{template}: {error}");
    }
}

#[test]
fn endless_recursion_ends() {
    let error = fails(r#"{{ define "r" }}{{ include "r" . }}{{ end }}{{ include "r" . }}"#);
    assert!(error.contains("rendering template has a nested reference name: r"), "{error}");
    for template in [
        r#"{{ define "r" }}{{ template "r" . }}{{ end }}{{ template "r" . }}"#,
        r#"{{ define "t" }}{{ tpl . . }}{{ end }}{{ $t := "{{ tpl . . }}" }}{{ tpl $t $t }}"#,
        r#"{{ define "a" }}{{ include "b" . }}{{ end }}{{ define "b" }}{{ include "a" . }}{{ end }}{{ include "a" . }}"#,
    ] {
        assert!(super::text(template, "").is_err(), "{template}");
    }
}

#[test]
fn deep_values_are_dropped_without_harm() {
    let template = "{{ $l := list }}{{ range until 300000 }}{{ $l = list $l }}{{ end }}done";
    assert_eq!(super::text(template, "").as_deref(), Ok("done"));
}

#[test]
fn mistakes_have_a_place_and_their_callers() {
    let helpers = "{{ define \"name\" }}\n  {{ required \"set it\" .Values.missing }}{{ end }}";
    let chart = super::chart(&[
        ("Chart.yaml", super::SMALLEST),
        ("templates/_helpers.tpl", helpers),
        ("templates/t.yaml", "a: 1\nb: {{ include \"name\" . | quote }}\n"),
    ]);
    let said = |chart: &Chart, parts: &[&str]| {
        let error = super::rendered(chart, &Values::new()).expect_err("a mistake").to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    said(
        &chart,
        &[
            "c/templates/_helpers.tpl:2:",
            "set it in `required",
            "\n  called from c/templates/t.yaml:2:7 by `include \"name\" .",
        ],
    );
    said(&super::one("a: {{ .Values.x", ""), &["c/templates/t.yaml:1:"]);
    said(&super::one("a: {{ nope 1 }}", ""), &["c/templates/t.yaml:1:7: there is no function `nope`"]);
    said(&super::one("a: [1\n", ""), &["YAML parse error on c/templates/t.yaml: line "]);
}

#[test]
fn names_of_files_stay_in_the_chart() {
    let mut files = Files::new();
    for name in ["../x", "/etc/passwd", "a/../../x", "a//b", "", ".", "a\\b", "x\0"] {
        assert!(matches!(files.add(name, "x"), Err(ChartError::Escapes { .. })), "{name:?}");
    }
    assert!(matches!(files.add("big", vec![0; MAX_FILE + 1]), Err(ChartError::TooLarge { .. })));
}

/// An archive of entries: a name, a kind, and content.
fn archive(entries: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, kind, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().expect("GNU").name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, *content).expect("an entry");
    }
    builder.into_inner().and_then(GzEncoder::finish).expect("an archive")
}

#[test]
fn archives_are_read_and_their_tricks_refused() {
    use tar::EntryType::{Directory, Link, Regular, Symlink};
    let described = super::SMALLEST.as_bytes();
    let good = archive(&[
        ("c/", Directory, b""),
        ("c/Chart.yaml", Regular, described),
        ("c/templates/t.yaml", Regular, b"a: 1"),
    ]);
    assert_eq!(Chart::archive(&good[..]).expect("a chart").name(), "c");
    for (bad, said) in [
        (archive(&[("c/Chart.yaml", Regular, described), ("c/../x", Regular, b"")]), "leads out of the chart"),
        (archive(&[("c/Chart.yaml", Regular, described), ("c/l", Symlink, b"")]), "is no plain file"),
        (archive(&[("c/Chart.yaml", Regular, described), ("c/l", Link, b"")]), "is no plain file"),
        (archive(&[("Chart.yaml", Regular, described)]), "not in the directory of the chart"),
        (archive(&[]), "holds no files"),
        (b"no archive".to_vec(), "archive"),
        (good[..good.len() / 2].to_vec(), "archive"),
    ] {
        let error = Chart::archive(&bad[..]).expect_err("it is no chart").to_string();
        assert!(error.contains(said), "{said}: {error}");
    }
    let zeros = vec![0; MAX_FILE + 1];
    let bomb = archive(&[("c/Chart.yaml", Regular, described), ("c/bomb", Regular, &zeros)]);
    assert!(matches!(Chart::archive(&bomb[..]), Err(ChartError::TooLarge { .. })));
    // A chart in a chart in a chart, and so on.
    let mut nested = good;
    for _ in 0..20 {
        nested = archive(&[("c/Chart.yaml", Regular, described), ("c/charts/c-0.1.0.tgz", Regular, &nested)]);
    }
    assert!(Chart::archive(&nested[..]).expect_err("too deep").to_string().contains("charts bring more charts"));
}

#[test]
fn aliases_do_not_explode() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        text += &format!("a{level}: &a{level} [{aliases}]\n");
    }
    let error = Values::parse(&text).expect_err("too many").to_string();
    assert!(error.contains("values, with those that aliases repeat"), "{error}");
    let deep = "[".repeat(5000);
    assert!(Values::parse(&deep).is_err());
    assert!(Values::parse("a: &a [*a]").is_err());
}
