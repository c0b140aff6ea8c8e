//! Whole charts: which of them are there, what they get, and in which order their manifests come.

use kiln_helm::{Capabilities, Limits, Release, SetKind, Values, images, render};

fn set(expressions: &[&str]) -> Values {
    let mut values = Values::new();
    for expression in expressions {
        values.set(expression, SetKind::Typed).expect("an option");
    }
    values
}

const PARENT: &str = "\
apiVersion: v2
name: app
version: 1.0.0
appVersion: 2.5
dependencies:
- {name: db, version: ~1.2, condition: db.enabled, tags: [back]}
- {name: db, version: ^1.2.0, alias: cache, condition: cache.enabled}
- {name: lib, version: 0.x, import-values: [data, {child: deep.er, parent: from.lib}]}
";

fn family() -> kiln_helm::Chart {
    super::chart(&[
        ("Chart.yaml", PARENT),
        ("values.yaml", "db: {enabled: true, size: 3}\ncache: {enabled: false}\nglobal: {zone: eu}\nown: 1\n"),
        ("templates/_x.tpl", "{{ define \"who\" }}parent{{ end }}"),
        (
            "templates/a.yaml",
            "a: {{ include \"who\" . }} {{ .Values.exported }} {{ .Values.from.lib.x }} {{ keys .Subcharts | sortAlpha }}\n",
        ),
        ("charts/db/Chart.yaml", "apiVersion: v2\nname: db\nversion: 1.2.5\n"),
        ("charts/db/values.yaml", "size: 1\nuser: root\n"),
        (
            "charts/db/templates/d.yaml",
            "d: {{ .Values.size }} {{ .Values.user }} {{ .Values.global.zone }} {{ .Chart.Name }} {{ include \"who\" . }} {{ .Template.Name }}\n",
        ),
        ("charts/db/templates/_d.tpl", "{{ define \"who\" }}child{{ end }}"),
        ("charts/lib/Chart.yaml", "apiVersion: v2\nname: lib\nversion: 0.4.0\ntype: library\n"),
        ("charts/lib/values.yaml", "exports: {data: {exported: yes it is}}\ndeep: {er: {x: y}}\n"),
        ("charts/lib/templates/l.yaml", "never: seen\n"),
    ])
}

fn texts(values: &Values) -> Vec<String> {
    let done = super::rendered(&family(), values).expect("it renders");
    done.files.into_iter().map(|file| file.text.trim_end().to_owned()).collect()
}

#[test]
fn conditions_tags_aliases_and_imports() {
    let parent = "a: parent yes it is true";
    let db = "d: 3 root eu db parent app/charts/db/templates/d.yaml";
    assert_eq!(texts(&Values::new()), [db.to_owned(), format!("{parent} [db lib]")]);
    let both = texts(&set(&["cache.enabled=true", "cache.size=9", "global.zone=us"]));
    assert_eq!(
        both,
        [
            "d: 9 root us cache parent app/charts/cache/templates/d.yaml".to_owned(),
            db.replace("eu", "us"),
            format!("{parent} [cache db lib]")
        ]
    );
    let done = super::rendered(&family(), &set(&["cache.enabled=true"])).expect("it renders");
    let places: Vec<&str> = done.files.iter().map(|file| file.file.as_str()).collect();
    assert_eq!(places, ["charts/db/templates/d.yaml", "charts/db/templates/d.yaml", "templates/a.yaml"]);
    assert_eq!(texts(&set(&["db.enabled=false"])), [format!("{parent} [lib]")]);
    // A condition has the last word over tags; without one, tags count.
    assert_eq!(texts(&set(&["tags.back=false"])).len(), 2);
    assert_eq!(texts(&set(&["tags.back=false", "db.enabled=null"])), [format!("{parent} [lib]")]);
}

/// As Helm has it: what charts below say of theirs counts where the upper chart has a list, be it an empty one.
#[test]
fn an_empty_list_of_dependencies_is_not_none() {
    for (list, want) in [("", "t: [low]"), ("dependencies: []\n", "t: [other]")] {
        let chart = super::chart(&[
            ("Chart.yaml", &format!("{}{list}", super::SMALLEST)),
            (
                "charts/s/Chart.yaml",
                "apiVersion: v2\nname: s\nversion: 0.1.0\ndependencies: [{name: low, version: '*', alias: other}]\n",
            ),
            ("charts/s/templates/t.yaml", "t: {{ keys .Subcharts }}"),
            ("charts/s/charts/low/Chart.yaml", "apiVersion: v2\nname: low\nversion: 0.1.0\n"),
        ]);
        assert_eq!(super::rendered(&chart, &Values::new()).expect("it renders").files[0].text, want);
    }
}

#[test]
fn nulls_remove_defaults() {
    let chart = super::one("{{ toJson .Values }}", "a: {b: 1, c: 2}\nd: 3\n");
    let done = super::rendered(&chart, &set(&["a.b=null", "d=null"])).expect("it renders");
    assert_eq!(done.files[0].text, r#"{"a":{"c":2}}"#);
}

/// What Helm 4.2.3 makes of the same.
#[test]
fn what_a_parent_says_wins_over_what_it_imports() {
    let of = |imports: &str, parent: &str, child: &str, given: &str| {
        let chart = super::chart(&[
            (
                "Chart.yaml",
                &format!("{}dependencies: [{{name: s, version: '*', import-values: [{imports}]}}]\n", super::SMALLEST),
            ),
            ("values.yaml", parent),
            ("templates/t.yaml", "{{ toJson (omit .Values \"s\") }}"),
            ("charts/s/Chart.yaml", "apiVersion: v2\nname: s\nversion: 0.1.0\n"),
            ("charts/s/values.yaml", child),
        ]);
        super::rendered(&chart, &set(&[given])).expect("it renders").files.remove(0).text
    };
    let table = "{child: x, parent: b}";
    for (imports, parent, child, given, want) in [
        (table, "b: {k: parent, o: 1}", "x: {k: child, j: 2}", "", r#"{"b":{"j":2,"k":"parent","o":1}}"#),
        ("data", "k: parent", "exports: {data: {k: child, j: 1}}", "", r#"{"j":1,"k":"parent"}"#),
        (table, "b: {k: parent}", "x: {k: child, j: 2}", "b.k=given", r#"{"b":{"j":2,"k":"given"}}"#),
        (table, "b: {k: parent}\ns: {x: {j: own}}", "x: {k: child, j: 2}", "", r#"{"b":{"j":"own","k":"parent"}}"#),
        (table, "b: {k: null}", "x: {k: child, j: 2}", "", r#"{"b":{"j":2}}"#),
        (table, "b: {k: 1}", "x: {k: null, j: null}", "", r#"{"b":{"k":1}}"#),
        (table, "b: {k: 1}", "x: {k: {m: 1}}", "", r#"{"b":{"k":1}}"#),
        (table, "b: {k: {m: 1}}", "x: {k: 1}", "", r#"{"b":{"k":{"m":1}}}"#),
        (
            "{child: x, parent: global.b}",
            "global: {b: {k: p}}",
            "x: {k: c, j: 2}",
            "",
            r#"{"global":{"b":{"j":2,"k":"p"}}}"#,
        ),
    ] {
        assert_eq!(of(imports, parent, child, given), want, "{parent} {child}");
    }
}

/// What Helm 4.2.3 makes of the same.
#[test]
fn nulls_in_charts_that_are_below_each_other() {
    let of = |declared: bool, upper: &str, lower: &str, given: &str| {
        let needs = |name: &str| match declared {
            true => format!("dependencies: [{{name: {name}, version: '*'}}]\n"),
            false => String::new(),
        };
        let described = |name: &str, more: String| format!("apiVersion: v2\nname: {name}\nversion: 0.1.0\n{more}");
        let chart = super::chart(&[
            ("Chart.yaml", &described("c", needs("s"))),
            ("templates/t.yaml", "{{ toJson .Values.s }}"),
            ("charts/s/Chart.yaml", &described("s", needs("t"))),
            ("charts/s/values.yaml", upper),
            ("charts/s/charts/t/Chart.yaml", &described("t", String::new())),
            ("charts/s/charts/t/values.yaml", lower),
        ]);
        super::rendered(&chart, &set(&[given])).expect("it renders").files.remove(0).text
    };
    let (null, nested) = ("t: {a: {b: null}}", "a: {b: null, c: {d: null, e: 1}}");
    for (declared, upper, lower, given, want) in [
        (false, null, "a: {b: 1}", "", r#"{"global":{},"t":{"a":{"b":1},"global":{}}}"#),
        (true, null, "a: {b: 1}", "", r#"{"global":{},"t":{"a":{},"global":{}}}"#),
        (false, "{}", nested, "", r#"{"global":{},"t":{"a":{"c":{"e":1}},"global":{}}}"#),
        (true, "{}", nested, "", r#"{"global":{},"t":{"a":{"b":null,"c":{"d":null,"e":1}},"global":{}}}"#),
        (true, nested, "{}", "s.z=1", r#"{"a":{"b":null,"c":{"d":null,"e":1}},"global":{},"t":{"global":{}},"z":1}"#),
    ] {
        assert_eq!(of(declared, upper, lower, given), want, "{declared} {upper} {lower}");
    }
}

/// What Helm 4.2.3 makes of the same.
#[test]
fn values_of_families() {
    let chart = super::chart(&[
        ("Chart.yaml", super::SMALLEST),
        (
            "values.yaml",
            "nn: null\nm: {x: null}\nsub: {q: null, w: {e: 1}}\ns: text\nt: {u: 1}\nglobal: {g: {a: 1}, h: null}\n",
        ),
        ("templates/t.yaml", "{{ toJson .Values }}"),
        ("charts/sub/Chart.yaml", "apiVersion: v2\nname: sub\nversion: 0.1.0\n"),
        (
            "charts/sub/values.yaml",
            "q: 5\nw: {e: 2, r: 3}\nz: {v: 1, x: 2}\nglobal: {g: {a: 2, b: 3}, k: 1}\nsn: null\n",
        ),
    ]);
    let sub = r#"{"global":{"g":{"a":1,"b":3},"k":1},"q":5,"w":{"e":1,"r":3},"z":{"v":1,"x":2}}"#;
    let of = |n: &str, global: &str, m: &str, s: &str, sub: &str| {
        format!(r#"{{"global":{global},"m":{m}{n},"s":{s},"sub":{sub},"t":{{"u":1}}}}"#)
    };
    let (global, text) = (r#"{"g":{"a":1}}"#, r#""text""#);
    let plain = of("", global, "{}", text, sub);
    for (given, want) in [
        ("", plain.clone()),
        ("sub=null", plain.replace(r#""w":{"e":1"#, r#""w":{"e":2"#)),
        ("m.x=null", of("", global, r#"{"x":null}"#, text, sub)),
        ("m.k=1", of("", global, r#"{"k":1}"#, text, sub)),
        ("nn=null", plain.clone()),
        ("other=null", of(r#","other":null"#, global, "{}", text, sub)),
        ("sub.q=null", of("", global, "{}", text, &sub.replace(r#""q":5,"#, ""))),
        ("s.now=map", of("", global, "{}", r#"{"now":"map"}"#, sub)),
        ("global.g=null", of("", "{}", "{}", text, &sub.replace(r#""a":1"#, r#""a":2"#))),
        ("sub.w=null,sub.z.v=null", of("", global, "{}", text, r#"{"global":{"g":{"a":1,"b":3},"k":1},"z":{"x":2}}"#)),
        ("sub.sn=null", of("", global, "{}", text, &sub.replace(r#""q":5,"#, ""))),
        ("sub.q=7", of("", global, "{}", text, &sub.replace(r#""q":5"#, r#""q":7"#))),
        (
            "global.k.m=1",
            of("", r#"{"g":{"a":1},"k":{"m":1}}"#, "{}", text, &sub.replace(r#""k":1"#, r#""k":{"m":1}"#)),
        ),
    ] {
        let done = super::rendered(&chart, &set(&[given])).expect("it renders");
        assert_eq!(done.files[0].text, want, "{given}");
    }
    assert!(super::rendered(&chart, &set(&["sub=5"])).is_err());
}

#[test]
fn charts_are_refused_with_reasons() {
    let described = |text: &str| kiln_helm::Chart::load(&super::named(&[("Chart.yaml", text)]));
    for (text, said) in [
        ("apiVersion: v2\nname: c\n", "Chart.yaml: `version` is required"),
        ("apiVersion: v2\nversion: 1.0.0\n", "Chart.yaml: `name` is required"),
        ("version: 1.0.0\n", "Chart.yaml: `apiVersion` is required"),
        ("apiVersion: v2\nname: c\nversion: one\n", "Chart.yaml: `version` must be a version such as 1.2.3"),
        ("apiVersion: v2\nname: a/b\nversion: 1.0.0\n", "Chart.yaml: `name` must be a name without slashes"),
        ("apiVersion: v2\nname: c\nversion: 1.0.0\ntype: x\n", "Chart.yaml: `type` must be `application` or `library`"),
        ("- a\n", "Chart.yaml: a map is expected"),
        (
            "apiVersion: v2\nname: c\nversion: 1.0.0\ndependencies: [{name: a}, {name: b, alias: a}]\n",
            "Chart.yaml: more than one dependency with the name or alias `a`",
        ),
    ] {
        assert_eq!(described(text).expect_err("no chart").to_string(), said);
    }
    let none = kiln_helm::Chart::load(&super::named(&[("values.yaml", "")])).expect_err("no chart");
    assert_eq!(none.to_string(), "Chart.yaml file is missing");
    let inner = super::named(&[("Chart.yaml", super::SMALLEST), ("charts/x/values.yaml", "")]);
    assert_eq!(
        kiln_helm::Chart::load(&inner).expect_err("no chart").to_string(),
        "charts/x: Chart.yaml file is missing"
    );

    let with = |more: &str| super::chart(&[("Chart.yaml", &format!("{}{more}", super::SMALLEST))]);
    let said = |more: &str| super::rendered(&with(more), &Values::new()).expect_err("it is refused").to_string();
    assert_eq!(said("type: library\n"), "library charts are not installable");
    assert_eq!(
        said("kubeVersion: '>=1.99'\n"),
        "chart requires kubeVersion: >=1.99 which is incompatible with Kubernetes v1.36.0"
    );
    assert_eq!(
        said("dependencies: [{name: gone, version: 1.x}]\n"),
        "found in Chart.yaml, but missing in charts/ directory: gone"
    );
}

#[test]
fn values_must_fit_their_schema() {
    let schema = r#"{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","required":["num"],
        "properties":{"num":{"type":"integer","minimum":1},"e":{"enum":["a","b"]},"p":{"pattern":"^x"}},"additionalProperties":true}"#;
    let chart = super::chart(&[
        ("Chart.yaml", super::SMALLEST),
        ("values.yaml", "num: 1\ne: a\np: xy\n"),
        ("values.schema.json", schema),
        ("templates/t.yaml", "num: {{ .Values.num }}"),
    ]);
    super::rendered(&chart, &Values::new()).expect("it fits");
    let error = super::rendered(&chart, &set(&["num=0", "e=c", "p=y"])).expect_err("it does not fit").to_string();
    for place in ["at '/num'", "at '/e'", "at '/p'"] {
        assert!(error.contains(place), "{error}");
    }
    let elsewhere =
        super::chart(&[("Chart.yaml", super::SMALLEST), ("values.schema.json", r#"{"$ref":"file:///etc/hostname"}"#)]);
    assert!(super::rendered(&elsewhere, &Values::new()).is_err(), "nothing is loaded from elsewhere");
}

#[test]
fn manifests_come_in_the_order_of_installation() {
    let chart = super::chart(&[
        ("Chart.yaml", super::SMALLEST),
        ("crds/x.yaml", "kind: CustomResourceDefinition\n"),
        ("templates/NOTES.txt", "Hello {{ .Release.Name }}"),
        ("templates/_h.tpl", "nothing"),
        ("templates/empty.yaml", "{{ if false }}x{{ end }}\n"),
        (
            "templates/all.yaml",
            "kind: Zebra\n---\nkind: Deployment\nmetadata: {name: d}\n--- # c\nkind: Service\n---\n\n---\nkind: Alpaca\n---\nkind: Namespace\n",
        ),
        (
            "templates/hook.yaml",
            "kind: Job\nmetadata:\n  name: h\n  annotations:\n    helm.sh/hook: pre-install, post-upgrade\n    helm.sh/hook-weight: \"-5\"\n    helm.sh/hook-delete-policy: hook-succeeded\n",
        ),
        ("templates/odd.yaml", "kind: Pod\nmetadata: {annotations: {helm.sh/hook: nonsense}}\n"),
    ]);
    let done = super::rendered(&chart, &Values::new()).expect("it renders");
    let kinds: Vec<&str> = done.manifests.iter().map(|manifest| manifest.kind.as_str()).collect();
    assert_eq!(kinds, ["Namespace", "Service", "Deployment", "Alpaca", "Zebra"]);
    assert_eq!(done.manifests[2].name, "d");
    assert_eq!(done.notes.as_deref(), Some("Hello release-name"));
    assert_eq!(done.crds[0].path, "c/crds/x.yaml");
    let [hook] = done.hooks.as_slice() else { panic!("one hook: {:?}", done.hooks) };
    assert_eq!(
        (hook.events.as_slice(), hook.weight),
        (["pre-install".to_owned(), "post-upgrade".to_owned()].as_slice(), -5)
    );
    assert_eq!(hook.delete_policies, ["hook-succeeded"]);
}

#[test]
fn ignored_files_are_no_part() {
    let chart = super::chart(&[
        ("Chart.yaml", super::SMALLEST),
        (".helmignore", "# tests\n*.bak\n/top.txt\nskip/\n"),
        ("templates/.hidden.yaml", "{{ fail }}"),
        ("a.bak", "x"),
        ("top.txt", "x"),
        ("sub/top.txt", "x"),
        ("skip/x", "x"),
        ("templates/t.yaml", "{{ range $k, $v := .Files.Glob \"**\" }}{{ $k }} {{ end }}"),
    ]);
    let done = super::rendered(&chart, &Values::new()).expect("it renders");
    assert_eq!(done.files[0].text, ".helmignore sub/top.txt ");
}

#[test]
fn a_seed_makes_random_texts_the_same() {
    let chart = super::one(
        "{{ randAlphaNum 20 }} {{ uuidv4 }} {{ randInt 0 1000 }} {{ shuffle \"abcdef\" }} {{ now | unixEpoch }}",
        "",
    );
    let with = |seed: Option<u64>| {
        let release = Release { seed, now: 7, ..Release::default() };
        render(&chart, &Values::new(), &release, &Capabilities::default(), &Limits::default())
            .expect("it renders")
            .files
    };
    assert_eq!(with(Some(1)), with(Some(1)));
    assert_ne!(with(Some(1)), with(Some(2)));
    assert_ne!(with(None), with(None));
    assert!(with(None)[0].text.ends_with(" 7"));
}

#[test]
fn images_are_found_without_rendering() {
    let chart = super::chart(&[
        (
            "Chart.yaml",
            "apiVersion: v2\nname: c\nversion: 0.1.0\nappVersion: v7\nannotations:\n  helm.sh/images: |\n    - name: a\n      image: r.example/a:1\n",
        ),
        ("images.lock", "images:\n- image: r.example/b@sha256:00\n"),
        (
            "values.yaml",
            "image: {registry: q.example, repository: x/y}\nother: {image: {repository: z, tag: 1.5}}\nsidecarImage: busybox:1\nurl: https://x\nlist: [{repository: l, tag: t, digest: 'sha256:11'}]\n",
        ),
    ]);
    let names = |found: Vec<images::Named>| found.into_iter().map(|named| named.image).collect::<Vec<_>>();
    assert_eq!(names(images::annotated(&chart)), ["r.example/a:1"]);
    assert_eq!(names(images::locked(&chart)), ["r.example/b@sha256:00"]);
    assert_eq!(names(images::in_values(&chart)), ["busybox:1", "l:t@sha256:11", "q.example/x/y:v7", "z:1.5"]);
}

#[test]
fn what_annotations_and_lock_files_list_depends_on_values() {
    let bitnami = "annotations:\n  images: |\n    - name: db\n      image: r.example/db:1\n";
    let chart = super::chart(&[
        (
            "Chart.yaml",
            "apiVersion: v2\nname: c\nversion: 0.1.0\ndependencies: [{name: db, version: 0.1.0, condition: db.on}]\nannotations:\n  helm.sh/images: |\n    - {name: a, image: r.example/a:1, condition: a.on}\n    - {name: b, image: r.example/b:1}\n  artifacthub.io/images: |\n    - name: h\n      image: r.example/h:1\n      platforms: [linux/amd64, linux/arm64]\n",
        ),
        ("values.yaml", "a: {on: false}\ndb: {on: true}\n"),
        (
            "images-lock.yaml",
            "kind: ImagesLock\nchart: {name: c}\nimages:\n- image: r.example/l:1\n  digests: [{digest: 'sha256:00', arch: linux/amd64}]\n- r.example/plain:1\n",
        ),
        ("poetry.lock", "content-hash: x\nfiles: [a, b]\n"),
        ("charts/db/Chart.yaml", &format!("apiVersion: v2\nname: db\nversion: 0.1.0\n{bitnami}")),
    ]);
    let names = |expressions: &[&str]| {
        let found = images::listed(&chart, &set(expressions)).expect("values");
        assert!(found.iter().all(|named| named.is_listed));
        found.into_iter().map(|named| named.image.replace("r.example/", "")).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), ["b:1", "db:1", "h:1", "l:1", "plain:1"]);
    assert_eq!(names(&["a.on=true,db.on=false"]), ["a:1", "b:1", "h:1", "l:1", "plain:1"]);
    assert!(images::listed(&chart, &set(&["db=5"])).is_err());
}

#[test]
fn durations_of_helm_4() {
    let template = r#"{{ durationSeconds "1m30s" }} {{ durationMinutes "90s" }} {{ durationHours "90m" }} {{ durationDays "36h" }} {{ durationMilliseconds "1.5s" }} {{ durationNanoseconds "1us" }} {{ durationRoundTo "1h31m" "1h" }} {{ durationTruncateTo "1h59m" "1h" }} {{ mustToDuration "1h5m" }} {{ mustToDuration 90 }}"#;
    let want = "90 1.5 1.5 1.5 1500 1000 2h0m0s 1h0m0s 1h5m0s 1m30s";
    assert_eq!(super::text(&format!("a: {template}"), "").as_deref(), Ok(format!("a: {want}").as_str()));
    assert!(super::text("{{ mustToDuration \"x\" }}", "").is_err());
}
