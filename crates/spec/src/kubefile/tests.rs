//! What Kubefiles mean, in every dialect, and what is wrong with them.

use super::*;
use crate::ast::{Op, Sourced};
use crate::diag::render;

fn source(text: &str) -> Source {
    Source { name: "Kubefile".to_owned(), text: text.to_owned() }
}

/// Files, then commands, a line each.
fn shown(text: &str) -> String {
    let (file, found) = parse(&source(text), None);
    assert!(!found.iter().any(Diagnostic::is_error), "{found:?}");
    let mut out = format!("{}\n", file.dialect);
    for instruction in file.dockerfile.stages.iter().flat_map(|stage| &stage.instructions) {
        let (keyword, files, flag) = match &instruction.op {
            Op::Copy(copy) => ("COPY", &copy.files, if copy.parents { "--parents " } else { "" }),
            Op::Add(add) => ("ADD", &add.files, ""),
            other => {
                out += &format!("{other:?}\n").split_once('(').map_or(String::new(), |(name, _)| format!("{name}\n"));
                continue;
            }
        };
        for source in &files.sources {
            if let Sourced::Path(word) = source {
                out += &format!("{keyword} {flag}{} {}\n", word.text, files.dest.text);
            }
        }
    }
    for command in &file.content.commands {
        out += &format!("> {}\n", command.text);
    }
    for name in &file.content.launch {
        out += &format!("> APP {}\n", name.text);
    }
    out
}

/// The first error, as people see it.
fn error(text: &str) -> String {
    let source = source(text);
    let (_, found) = parse(&source, None);
    let first = found.iter().find(|d| d.is_error()).unwrap_or_else(|| panic!("no error: {found:?}"));
    render(first, &source, false)
}

#[test]
fn sealers_first_dialect_keeps_names_and_all_commands() {
    let text = "FROM kubernetes:v1.19.8\nCOPY imageList manifests\nCOPY apollo charts\nCOPY helm /bin\n\
                CMD helm install charts/apollo\nCOPY recommended.yaml manifests\n\
                CMD kubectl apply -f manifests/recommended.yaml\n";
    let expected = "sealer-v1\nCOPY imageList /manifests/imageList\nCOPY apollo /charts/apollo\nCOPY helm /bin/helm\n\
                    COPY recommended.yaml /manifests/recommended.yaml\n> helm install charts/apollo\n\
                    > kubectl apply -f manifests/recommended.yaml\n";
    assert_eq!(shown(text), expected);
}

#[test]
fn places_of_the_first_dialect() {
    let place = |copy: &str| {
        let all = shown(&format!("FROM scratch\n{copy}\n"));
        all.lines().skip(1).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(place("COPY a.yml etc/a.yml"), "COPY a.yml /etc/a.yml");
    assert_eq!(place("COPY a.yml ./etc/"), "COPY a.yml /etc/a.yml");
    assert_eq!(place("COPY rootfs ."), "COPY rootfs /rootfs");
    assert_eq!(place("COPY . ."), "COPY . /");
    assert_eq!(place("COPY x/y/*.yaml manifests"), "COPY --parents x/y/./*.yaml /manifests/");
    assert_eq!(place("COPY *.yaml manifests"), "COPY --parents ././*.yaml /manifests/");
    assert_eq!(place("COPY ${ARCH}/kubelet bin"), "COPY ${ARCH}/kubelet /bin/kubelet");
    assert_eq!(place("COPY $CHART charts"), "COPY $CHART /charts/${CHART##*/}");
    assert_eq!(place("COPY a b charts"), "COPY a /charts/a; COPY b /charts/b");
    assert_eq!(place("COPY https://x.example/a.tgz charts"), "ADD https://x.example/a.tgz /charts/");
    assert_eq!(
        place("COPY --values=prod.yaml apollo charts"),
        "COPY prod.yaml /charts/apollo.values.yaml; COPY apollo /charts/apollo"
    );
}

#[test]
fn an_argument_list_is_split_at_names() {
    let (file, found) = parse(&source("FROM scratch\nARG A=1,B=2,3,C=\nCMD echo $A\n"), None);
    assert!(found.is_empty(), "{found:?}");
    let args: Vec<(&str, Option<&str>)> =
        file.content.args.iter().map(|a| (&*a.name.text, a.default.as_ref().map(|d| &*d.text))).collect();
    assert_eq!(args, [("A", Some("1")), ("B", Some("2,3")), ("C", Some(""))]);
}

#[test]
fn a_list_of_whole_commands_is_no_list_of_words() {
    let commands = |text: &str| {
        let (file, found) = parse(&source(&format!("FROM scratch\n{text}\n")), None);
        assert!(found.is_empty(), "{found:?}");
        file.content.commands.into_iter().map(|word| word.text).collect::<Vec<_>>()
    };
    assert_eq!(commands("CMD [\"kubectl apply -f a.yaml\"]"), ["kubectl apply -f a.yaml"]);
    assert_eq!(commands("CMD [\"helm install a\", \" kubectl get no \", \"\"]"), ["helm install a", "kubectl get no"]);
    assert_eq!(commands("CMD [\"sh\", \"-c\", \"echo a b\"]"), ["sh -c 'echo a b'"]);
    assert_eq!(commands("CMD [\"reboot\"]"), ["reboot"]);
}

#[test]
fn sealers_second_dialect() {
    let text = "FROM scratch\nKUBEVERSION v1.22.15\nCNI calico local://calico.sh\nAPP apollo local://apollo\n\
                APP dash https://x.example/dash.yaml\nAPPENV apollo A=1 B=\"2 3\"\n\
                APPCMDS dash [\"kubectl apply -f dash.yaml\"]\nLAUNCH [\"calico\", \"apollo\"]\n";
    let expected = "sealer-v2\nLabel\nCOPY calico.sh /application/apps/calico/\nLabel\n\
                    COPY apollo /application/apps/apollo/\nADD https://x.example/dash.yaml /application/apps/dash/\n\
                    > APP calico\n> APP apollo\n";
    assert_eq!(shown(text), expected);
    let (file, _) = parse(&source(text), None);
    assert_eq!(file.content.kubernetes.map(|v| v.text).as_deref(), Some("v1.22.15"));
    assert_eq!(file.content.app_env["apollo"].len(), 2);
    assert_eq!(file.content.apps[0].role, Role::Cni);
}

#[test]
fn what_a_file_uses_tells_its_dialect() {
    let dialect = |text: &str| parse(&source(text), None).0.dialect;
    assert_eq!(dialect("FROM scratch\nCOPY . .\n"), Dialect::SealerV1);
    assert_eq!(dialect("FROM scratch\nENV A=1\n"), Dialect::SealerV2);
    assert_eq!(dialect("FROM scratch\nLABEL sealos.io.type=rootfs version=v1.30.1\nCOPY . .\n"), Dialect::Sealos);
    assert_eq!(dialect("FROM scratch\nCOPY . .\nENTRYPOINT [\"sh\"]\n"), Dialect::Sealos);
    assert_eq!(dialect("# kiln:dialect=sealos\nFROM scratch\nCOPY . .\n"), Dialect::Sealos);
    let given = parse(&source("# kiln:dialect=sealos\nFROM scratch\n"), Some(Dialect::SealerV1)).0;
    assert_eq!((given.dialect, given.reason), (Dialect::SealerV1, Reason::Given));
}

#[test]
fn mistakes_have_places_and_hints() {
    for (text, parts) in [
        ("FROM scratch\nLAUNCH [\"apolo\"]\nAPP apollo local://a\n", &["Kubefile:2:9", "did you mean `apollo`"][..]),
        ("FROM scratch\nAPP Apollo local://a\n", &["Kubefile:2:5", "cannot name an application", "hint:"]),
        ("FROM scratch\nAPP ../x local://a\n", &["Kubefile:2:5", "cannot name an application"]),
        ("FROM scratch\nAPP x a.yaml\n", &["Kubefile:2:7", "local://a.yaml"]),
        ("FROM scratch\nAPP x\n", &["Kubefile:2:1", "local://path/in/the/context"]),
        ("FROM scratch\nLAUNCH apollo\n", &["Kubefile:2:1", "JSON array"]),
        ("FROM scratch\nCMDS []\n", &["Kubefile:2:1", "JSON array"]),
        ("FROM scratch\nAPP a local://a\nCMDS [\"x\"]\nLAUNCH [\"a\"]\n", &["Kubefile:4:1", "keep one of them"]),
        ("FROM scratch\nAPP a local://a\nAPP a local://b\n", &["Kubefile:3:5", "two applications"]),
        ("FROM scratch\nKUBEVERSION latest\n", &["Kubefile:2:13", "KUBEVERSION v1.30.2"]),
        ("APP a local://a\nFROM scratch\n", &["Kubefile:1:1", "only `ARG` may come before `FROM`"]),
        ("FROM scratch\nLUNCH [\"a\"]\n", &["Kubefile:2:1", "did you mean `LAUNCH`"]),
        ("# kiln:dialect=sealer1\nFROM scratch\n", &["Kubefile:1:16", "sealer-v1"]),
        ("# kiln:dialect=sealer-v1\nFROM scratch\nLABEL a=b\n", &["Kubefile:3:1", "is no instruction of sealer-v1"]),
        ("# kiln:dialect=sealos\nFROM scratch\nAPP a local://a\n", &["Kubefile:3:1", "is no instruction of sealos"]),
        ("FROM scratch\nCOPY --values=v.yaml a b charts\n", &["Kubefile:2:", "one chart"]),
        ("FROM scratch\nCMD []\n", &["Kubefile:2:1", "remove the line"]),
        ("", &["the Kubefile has no instructions"]),
        ("FROM scratch\nAPPENV x\n", &["Kubefile:2:1", "APPENV app KEY=VALUE"]),
    ] {
        let shown = error(text);
        assert!(parts.iter().all(|part| shown.contains(part)), "{text}\n{shown}");
    }
}

#[test]
fn nothing_that_is_read_panics() {
    let pieces = [
        "FROM a\n",
        "CMD [",
        "APP",
        " ",
        "\n",
        "LAUNCH [\"",
        "\"]",
        "\\\n",
        "é",
        "COPY --values=",
        "<<EOF",
        "$",
        "ARG a=,b=",
        "local://",
        "\u{feff}",
    ];
    let mut state = 7_u64;
    for _ in 0..3000 {
        let mut text = String::new();
        for _ in 0..(state % 12) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text += pieces[usize::try_from(state >> 40).unwrap() % pieces.len()];
        }
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15).rotate_left(17);
        for dialect in Dialect::ALL {
            let (_, found) = parse(&source(&text), Some(dialect));
            let source = source(&text);
            found.iter().for_each(|diagnostic| drop(render(diagnostic, &source, false)));
        }
    }
}
