//! The decoder of configurations: weak about types, strict about keys.

use std::time::Duration;

use crate::{good, plain};
use kiln_packer::config::Config;

fn config(keys: &str) -> Config {
    let text = format!(r#"{{"variables": {{"n": "5", "yes": "true"}}, "builders": [{{"type": "x", {keys}}}]}}"#);
    good(&text, &plain()).builds[0].config.clone()
}

#[test]
fn types_convert_as_mapstructures_do() {
    let config = config(
        r#""s": 10, "t": true, "b": "{{user `yes`}}", "b0": "0", "b1": 1, "i": "{{user `n`}}", "f": 1e3,
           "d": "1h5m", "ns": 5000, "l": "a,b", "one": 3, "e": "", "m": {"k": 1, "j": "{{user `n`}}"},
           "ml": [{"a": "1"}, {"b": "2"}], "os": {"x": 1}, "is": [0, "2"], "null": null"#,
    );
    let f = config.fields();
    assert_eq!(f.string("s").expect("s").as_deref(), Some("10"));
    assert_eq!(f.string("t").expect("t").as_deref(), Some("1"));
    assert_eq!(f.bool("b").expect("b"), Some(true));
    assert_eq!(f.bool("b0").expect("b0"), Some(false));
    assert_eq!(f.bool("b1").expect("b1"), Some(true));
    assert_eq!(f.int("i").expect("i"), Some(5));
    assert_eq!(f.int("f").expect("f"), Some(1000));
    assert_eq!(f.duration("d").expect("d"), Some(Duration::from_secs(3900)));
    assert_eq!(f.duration("ns").expect("ns"), Some(Duration::from_nanos(5000)));
    assert_eq!(f.strings("l").expect("l"), Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(f.strings("one").expect("one"), Some(vec!["3".to_owned()]));
    assert_eq!(f.strings("e").expect("e"), Some(vec![]));
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(f.map("m").expect("m"), Some(vec![pair("k", "1"), pair("j", "5")]));
    assert_eq!(f.map("ml").expect("ml"), Some(vec![pair("a", "1"), pair("b", "2")]));
    assert_eq!(f.objects("os").expect("os").map(|objects| objects.len()), Some(1));
    assert_eq!(f.ints("is").expect("is"), Some(vec![0, 2]));
    assert_eq!(f.string("null").expect("null"), None);
    assert!(!f.has("gone"));
    f.finish().expect("every key was asked for");
}

#[test]
fn what_does_not_convert_is_told_with_its_place() {
    let config = config(r#""b": "maybe", "i": 1.5, "d": "5", "l": {"a": 1}, "o": 3, "neg": "-3s", "u": -1, "s": []"#);
    let f = config.fields();
    let mut shown = String::new();
    let mut tell = |fault: Option<kiln_packer::fault::Fault>| {
        let fault = fault.expect("a fault");
        shown += &format!("{fault} [{}]\n", fault.diagnostic.label);
    };
    tell(f.bool("b").err());
    tell(f.int("i").err());
    tell(f.duration("d").err());
    tell(f.strings("l").err());
    tell(f.object("o").err());
    tell(f.duration("neg").err());
    tell(f.uint("u").err());
    tell(f.string("s").err());
    tell(f.required("gone").err());
    insta::assert_snapshot!(shown);
}

#[test]
fn keys_nobody_asked_for_are_errors_that_guess() {
    let config = config(r#""inlne": ["x"], "scripts": [], "what": 1"#);
    let f = config.fields();
    f.strings("inline").expect("nothing");
    f.strings("scripts").expect("a list");
    let fault = f.finish().expect_err("two keys are left");
    insta::assert_snapshot!(fault.render(false));
}
