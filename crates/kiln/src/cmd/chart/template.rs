//! `kiln chart template`: a chart as manifests.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use kiln_helm::{Capabilities, KUBE_VERSION, Limits, Release, Rendered, SetKind, Values, Version};
use kiln_spec::glob::Pattern;

use super::read;
use crate::error::CliError;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The name of the release; may be left out with --generate-name
    #[arg(value_name = "NAME")]
    name: String,
    /// The chart: a directory, or an archive
    #[arg(value_name = "CHART")]
    chart: Option<PathBuf>,
    /// A file of values; - is standard input (repeat it: later ones win)
    #[arg(short = 'f', long = "values", value_name = "FILE")]
    values: Vec<PathBuf>,
    /// Values: outer.inner=value,list[0]=value,list={a,b}
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Values that are texts, whatever they look like
    #[arg(long, value_name = "KEY=VALUE")]
    set_string: Vec<String>,
    /// Values in JSON: key=JSON, or one object
    #[arg(long, value_name = "KEY=JSON")]
    set_json: Vec<String>,
    /// Values from files: key=path
    #[arg(long, value_name = "KEY=FILE")]
    set_file: Vec<String>,
    /// A value that is one text, with all its commas and dots
    #[arg(long, value_name = "KEY=VALUE")]
    set_literal: Vec<String>,
    /// The namespace of the release
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    namespace: String,
    /// Make up the name of the release
    #[arg(short, long)]
    generate_name: bool,
    /// The version of Kubernetes that the cluster has
    #[arg(long, value_name = "VERSION", default_value = KUBE_VERSION)]
    kube_version: String,
    /// What the cluster can do beyond what is usual: example.com/v1, example.com/v1/Kind
    #[arg(short, long, value_name = "VERSION", value_delimiter = ',')]
    api_versions: Vec<String>,
    /// Also print what is in crds directories
    #[arg(long)]
    include_crds: bool,
    /// Print what these templates give only; * is any text in a name
    #[arg(short, long, value_name = "TEMPLATE", value_delimiter = ',')]
    show_only: Vec<String>,
    /// Leave hooks out
    #[arg(long)]
    no_hooks: bool,
    /// Leave hooks out that are tests
    #[arg(long)]
    skip_tests: bool,
    /// The release replaces an older one
    #[arg(long)]
    is_upgrade: bool,
    /// Write files below a directory instead
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// Random texts from this seed, and `now` at 1970: the same text every time
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

const EXAMPLES: &str = "\
Examples:
  kiln chart template web ./app
  kiln chart template web app-1.2.3.tgz -f prod.yaml --set image.tag=1.2,replicas=3
  kiln chart template web ./app --show-only templates/deployment.yaml --kube-version 1.29
  kiln chart template web ./app --include-crds --output-dir out";

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), CliError> {
    let (name, path) = match (&args.chart, args.generate_name) {
        (Some(_), true) => return Err(CliError::usage("a name and --generate-name do not fit together")),
        (Some(chart), false) => (args.name.as_str(), chart.as_path()),
        (None, true) => ("release-name", Path::new(&args.name)),
        (None, false) => ("release-name", Path::new(&args.name)),
    };
    check_name(name)?;
    let chart = read::chart(path)?;
    let values = values(args)?;
    if Version::parse(&args.kube_version).is_none() {
        return Err(CliError::usage(format!(
            "--kube-version {}: expected a version such as 1.29.0",
            args.kube_version
        )));
    }
    let mut capabilities = Capabilities::of(&args.kube_version);
    capabilities.api_versions.extend(args.api_versions.iter().cloned());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let release = Release {
        name: name.to_owned(),
        namespace: args.namespace.clone(),
        is_upgrade: args.is_upgrade,
        now: if args.seed.is_some() { 0 } else { i64::try_from(now).unwrap_or(0) },
        seed: args.seed,
        ..Release::default()
    };
    let rendered = kiln_helm::render(&chart, &values, &release, &capabilities, &Limits::default())
        .map_err(|error| CliError::input(format!("cannot render the chart `{}`: {error}", path.display())))?;
    for warning in &rendered.warnings {
        eprintln!("warning: {warning}");
    }
    let texts = texts(args, chart.name(), &rendered)?;
    match &args.output_dir {
        None => print(&texts),
        Some(dir) => write(dir, &texts),
    }
}

fn check_name(name: &str) -> Result<(), CliError> {
    let part = |part: &str| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        !part.is_empty()
            && part.chars().all(|c| plain(c) || c == '-')
            && part.starts_with(plain)
            && part.ends_with(plain)
    };
    if name.len() <= 53 && name.split('.').all(part) {
        return Ok(());
    }
    Err(CliError::usage(format!("`{name}` cannot be the name of a release"))
        .with_hint("53 small letters, digits, `-` and `.` at most, with a letter or digit at both ends"))
}

/// Files first, then options in helm's order.
fn values(args: &Args) -> Result<Values, CliError> {
    let mut values = Values::new();
    for file in &args.values {
        let text = match file.to_str() {
            Some("-") => {
                let mut text = String::new();
                let read = std::io::stdin().lock().take(16 << 20).read_to_string(&mut text);
                read.map(|_| text).map_err(|error| format!("cannot read standard input: {error}"))
            }
            _ => read::text(file),
        };
        let text = text.map_err(CliError::input)?;
        let wrong = |error| CliError::input(format!("{}: {error}", file.display()));
        values.merge(Values::parse(&text).map_err(wrong)?);
    }
    let from_file = |path: &str| read::text(Path::new(path));
    let options: [(&str, &[String], SetKind<'_>); 5] = [
        ("--set-json", &args.set_json, SetKind::Json),
        ("--set", &args.set, SetKind::Typed),
        ("--set-string", &args.set_string, SetKind::Text),
        ("--set-file", &args.set_file, SetKind::File(&from_file)),
        ("--set-literal", &args.set_literal, SetKind::Literal),
    ];
    for (option, expressions, kind) in options {
        for expression in expressions {
            values.set(expression, kind).map_err(|error| CliError::usage(format!("{option} {error}")))?;
        }
    }
    Ok(values)
}

/// A text of the output, and the template it comes from.
struct Text {
    path: String,
    text: String,
}

fn texts(args: &Args, chart: &str, rendered: &Rendered) -> Result<Vec<Text>, CliError> {
    let mut texts = Vec::new();
    if args.include_crds {
        texts.extend(rendered.crds.iter().map(|file| Text { path: file.path.clone(), text: file.text.clone() }));
    }
    texts.extend(rendered.manifests.iter().map(|one| Text { path: one.path.clone(), text: one.text.clone() }));
    if !args.no_hooks {
        let test = |events: &[String]| args.skip_tests && events.iter().any(|event| event == "test");
        let hooks = rendered.hooks.iter().filter(|hook| !test(&hook.events));
        texts.extend(hooks.map(|hook| Text { path: hook.manifest.path.clone(), text: hook.manifest.text.clone() }));
    }
    if args.show_only.is_empty() {
        return Ok(texts);
    }
    let mut chosen = Vec::new();
    for wanted in &args.show_only {
        // A pattern of Go's, as helm takes it; one that is malformed matches nothing there either.
        let pattern = Pattern::new(format!("{chart}/{}", wanted.trim_start_matches('/'))).ok();
        let (hits, rest): (Vec<Text>, Vec<Text>) =
            texts.into_iter().partition(|text| pattern.as_ref().is_some_and(|p| p.matches(&text.path)));
        if hits.is_empty() {
            return Err(CliError::input(format!("could not find template {wanted} in chart")));
        }
        chosen.extend(hits);
        texts = rest;
    }
    Ok(chosen)
}

fn block(text: &Text) -> String {
    format!("---\n# Source: {}\n{}\n", text.path, text.text.trim_end_matches('\n'))
}

fn print(texts: &[Text]) -> Result<(), CliError> {
    let all: String = texts.iter().map(block).collect();
    let written = std::io::stdout().lock().write_all(all.as_bytes());
    written.map_err(|error| CliError::environment(format!("cannot write: {error}")))
}

/// One file a template, as helm does: `DIR/app/templates/service.yaml`.
fn write(dir: &Path, texts: &[Text]) -> Result<(), CliError> {
    let mut files: BTreeMap<&str, String> = BTreeMap::new();
    for text in texts {
        files.entry(&text.path).or_default().push_str(&block(text));
    }
    for (path, text) in files {
        let relative = Path::new(path);
        if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(CliError::input(format!("the template `{path}` would be written out of {}", dir.display())));
        }
        let place = dir.join(relative);
        let failed = |error| CliError::environment(format!("cannot write {}: {error}", place.display()));
        if let Some(parent) = place.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        std::fs::write(&place, text).map_err(failed)?;
        println!("wrote {}", place.display());
    }
    Ok(())
}
