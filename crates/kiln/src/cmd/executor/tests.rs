//! kaniko's command lines, and what comes of them.

use clap::{Args as _, Command};

use super::*;

fn parsed(line: &[&str]) -> Result<Given, clap::Error> {
    let command = Args::augment_args(Command::new("executor"));
    Ok(Given::new(&command.try_get_matches_from([&["executor"], line].concat())?))
}

fn wanted(line: &[&str], env: &[(&str, &str)]) -> Result<Wanted, String> {
    let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
    let given = parsed(line).map_err(|e| e.to_string())?;
    options::wanted(&given, build::Args::defaults().unwrap(), &env).map_err(|e| e.render(false))
}

#[test]
fn every_flag_has_a_fate() {
    assert_eq!(flags::flags(&flags::GROUPS).count(), 68, "kaniko 1.28 has 68 flags");
    for flag in flags::flags(&flags::GROUPS) {
        let value = match flag.kind {
            flags::Kind::Switch(default) => format!("--{}={}", flag.name, !default),
            flags::Kind::Word(words) => format!("--{}={}", flag.name, words[1]),
            flags::Kind::Number(_) => format!("--{}=3", flag.name),
            flags::Kind::Text(_) | flags::Kind::List => format!("--{}=x", flag.name),
        };
        let given = parsed(&[&value]).unwrap_or_else(|e| panic!("{value}: {e}"));
        assert!(given.has(flag.name));
        let warned = given.warnings(&flags::GROUPS).iter().any(|w| w.contains(&format!("--{} ", flag.name)));
        let silent = flag.fate == flags::Fate::Honoured;
        assert_eq!(warned, !silent, "{value}: honoured, or a warning");
        if let flags::Fate::Spelling(now) = flag.fate {
            assert!(flags::flags(&flags::GROUPS).any(|f| f.name == now));
        }
    }
}

#[test]
fn every_honoured_flag_is_read() {
    let sources = [include_str!("options.rs"), include_str!("mod.rs"), include_str!("warmer.rs")].concat();
    for flag in flags::flags(&flags::GROUPS).filter(|f| f.fate == flags::Fate::Honoured) {
        assert!(sources.contains(&format!("\"{}\"", flag.name)), "--{} is called honoured", flag.name);
    }
}

#[test]
fn switches_are_those_of_go() {
    let cache = |line: &[&str]| parsed(line).map(|g| g.switch("cache"));
    assert!(cache(&["--cache"]).unwrap() && cache(&["--cache=T"]).unwrap() && cache(&["--cache=1"]).unwrap());
    assert!(!cache(&[]).unwrap() && !cache(&["--cache", "--cache=false"]).unwrap(), "the last one counts");
    assert!(cache(&["--cache=yes"]).is_err());
    assert!(cache(&["--cache", "true"]).is_err(), "a word of its own is no value");
    assert!(!parsed(&["--cache-run-layers=false"]).unwrap().switch("cache-run-layers"));
}

#[test]
fn a_job_of_kaniko_is_understood() {
    let line = [
        "--dockerfile=dockerfile",
        "--context=s3://bucket/context.tar.gz",
        "--destination=index.docker.io/team/httpserver:1.0",
        "-d=registry.example/httpserver:1.0",
        "--build-arg=HTTP_PROXY",
        "--build-arg",
        "FLAGS=-a -b",
        "--target=prod,test",
        "--annotation=a:b=c",
    ];
    let wanted = wanted(&line, &[("HTTP_PROXY", "http://proxy:3128")]).unwrap();
    assert_eq!(
        wanted.destinations.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["docker.io/team/httpserver:1.0", "registry.example/httpserver:1.0"]
    );
    let build = &wanted.build;
    assert_eq!((&*build.context, build.file.as_deref()), ("s3://bucket/context.tar.gz", Some("dockerfile")));
    assert_eq!(build.build_args, ["HTTP_PROXY=http://proxy:3128", "FLAGS=-a -b"]);
    assert_eq!((build.target.as_deref(), &wanted.also[..]), (Some("prod"), &["test".to_owned()][..]));
    assert_eq!(build.annotations, ["manifest:a:b=c"]);
    assert!(wanted.check_push && wanted.warnings.is_empty() && !wanted.no_push);
}

#[test]
fn contexts_have_kanikos_prefixes() {
    let of = |context: &str, more: &[&str], env: &[(&str, &str)]| {
        let line = [&["--no-push", "--context", context], more].concat();
        wanted(&line, env).map(|w| (w.build.context, w.build.git))
    };
    for (text, want) in
        [("/workspace", "/workspace"), ("dir:///w", "/w"), ("tar:///c.tar.gz", "/c.tar.gz"), ("tar://stdin", "-")]
    {
        assert_eq!(of(text, &[], &[]).unwrap().0, want);
    }
    assert!(of("ftp://x/y", &[], &[]).unwrap_err().contains("unknown build context prefix"));
    let git = of("git://github.com/o/r#refs/heads/x#0123456", &[], &[("GIT_TOKEN", "hunter2")]).unwrap().1.unwrap();
    assert_eq!(git.remote, "https://hunter2@github.com/o/r");
    assert_eq!((git.reference.as_deref(), git.submodules), (Some("0123456"), Some(false)));
    let options = ["--git=branch=dev,recurse-submodules=true", "--git", "depth=1"];
    let git = of("git://h/r", &options, &[("GIT_PULL_METHOD", "http")]).unwrap().1.unwrap();
    assert_eq!((&*git.remote, git.reference.as_deref(), git.submodules), ("http://h/r", Some("dev"), Some(true)));
    assert!(of("git://h/r", &["--git=bunch=x"], &[]).unwrap_err().contains("expected branch"));
    assert!(of("git://h/r#--upload-pack=x", &[], &[]).unwrap_err().contains("not allowed"));
    let bucket = wanted(&["--no-push", "--bucket=b/c.tar"], &[]).unwrap();
    assert_eq!(bucket.build.context, "gs://b/c.tar");
    for context in ["s3://b", "s3://b/"] {
        assert_eq!(of(context, &[], &[]).unwrap().0, "s3://b/context.tar.gz");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    for (line, text) in [
        (&[][..], "you must provide --destination, or use --no-push"),
        (&["--no-push", "--image-name-with-digest-file=x"], "you must provide --destination if setting"),
        (&["--no-push", "--cache"], "specify cache repo with --cache-repo"),
        (&["-d", "a/b", "--compression=zstd", "--image-format=docker"], "exclude each other"),
        (&["-d", "a/b", "--compression=zstd", "--tar-path=x"], "exclude each other"),
        (&["-d", "a/b", "--image-format=oci", "--tar-path=x"], "exclude each other"),
        (&["-d", "A B"], "getting tag for destination"),
        (&["-d", "a/b", "--cache", "--cache-repo=r.io/c:tag"], "neither tag nor digest"),
        (&["-d", "a/b", "--cache", "--cache-ttl=6"], "expected a duration"),
    ] {
        let error = wanted(line, &[]).unwrap_err();
        assert!(error.contains(text), "{line:?}: {error}");
    }
    assert!(wanted(&["-d", "a/b"], &[("KANIKO_NO_PUSH", "maybe")]).unwrap_err().contains("KANIKO_NO_PUSH"));
    assert!(wanted(&[], &[("KANIKO_NO_PUSH", "true")]).unwrap().no_push);
}

#[test]
fn the_cache_is_beside_the_first_destination() {
    let cache = |line: &[&str]| wanted(line, &[]).unwrap().cache;
    let given = cache(&["-d", "r.example/a/b:1", "--cache=true", "--cache-ttl=1h30m", "--cache-copy-layers"]).unwrap();
    assert_eq!(given.place, Place::Repository("r.example/a/b/cache".parse().unwrap()));
    assert_eq!((given.ttl.as_secs(), given.push, given.copies, given.runs), (5400, true, true, true));
    assert_eq!(cache(&["-d", "a/b"]), None);
    let layout = cache(&["--no-push", "--cache", "--cache-repo=oci:/cache/steps", "--no-push-cache"]).unwrap();
    assert_eq!((layout.place, layout.push), (Place::Layout(PathBuf::from("/cache/steps")), false));
}

#[test]
fn registries_are_reached_as_kaniko_reaches_them() {
    let line = [
        "--insecure",
        "--insecure-registry=a:5000",
        "--skip-tls-verify-registry=b",
        "--registry-certificate=c=/ca.pem",
        "--registry-client-cert=d=/cert,/key",
        "--registry-map=index.docker.io=m1;gcr.io=m2",
        "--registry-mirror=m3",
        "--skip-default-registry-fallback",
        "--push-retry=7",
    ];
    let env = |name: &str| (name == "KANIKO_REGISTRY_MIRROR").then(|| "m4".to_owned());
    let given = parsed(&line).unwrap();
    let config = options::registries(&given, Config::default(), &["pushed".to_owned()], &env).unwrap();
    assert_eq!(config.insecure_tls, ["pushed", "a:5000", "b"]);
    assert!(!config.insecure_all && config.mirrors_only && config.retries == 7);
    let mirrors: Vec<_> = config.mirrors.iter().map(|m| (&*m.registry, &*m.endpoint)).collect();
    assert_eq!(mirrors, [("docker.io", "m1"), ("gcr.io", "m2"), ("docker.io", "m3"), ("docker.io", "m4")]);
    assert_eq!((&*config.host_ca[0].host, &*config.client_certs[0].host), ("c", "d"));
    let bad = parsed(&["--registry-certificate=c"]).unwrap();
    assert!(options::registries(&bad, Config::default(), &[], &env).is_err());
}

#[test]
fn warnings_name_what_has_no_effect() {
    let wanted = wanted(&["-d", "a/b", "--use-new-run", "--snapshotMode=redo"], &[("BENCHMARK_FILE", "x")]).unwrap();
    let all = wanted.warnings.join("\n");
    for text in ["--use-new-run has no effect", "Flag --snapshotMode is deprecated. Use: --snapshot-mode", "BENCHMARK"]
    {
        assert!(all.contains(text), "{all}");
    }
    let helpers = parsed(&["--credential-helpers=ecr,digitalocean", "--credential-helpers=ACR"]).unwrap();
    let unknown = options::unknown_helpers(&helpers);
    assert!(unknown[0].contains("=digitalocean is passed over") && unknown[1].contains("=ACR"), "{unknown:?}");
    assert_eq!(options::unknown_helpers(&parsed(&["--credential-helpers="]).unwrap()), Vec::<String>::new());
    let flags = feature_flags(["HOME", "FF_KANIKO_B", "FF_KANIKO_A"].map(str::to_owned).into_iter());
    assert!(flags.unwrap().starts_with("FF_KANIKO_A, FF_KANIKO_B have no effect"));
}

#[test]
fn the_documentation_has_every_flag_and_its_fate() {
    let text = include_str!("../../../../../docs/kaniko.md");
    for flag in flags::flags(&flags::GROUPS) {
        let fate = match flag.fate {
            flags::Fate::Honoured => "honoured".to_owned(),
            flags::Fate::NoEffect(why) => format!("no effect: {why}"),
            flags::Fate::Spelling(now) => format!("old spelling of `--{now}`"),
        };
        let row = format!("| `--{}` | {fate} |", flag.name);
        assert!(text.lines().any(|line| line == row), "docs/kaniko.md lacks: {row}");
    }
}
