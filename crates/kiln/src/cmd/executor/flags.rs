//! kaniko's flags as a table: one row is how a flag is parsed, what `--help` and the documentation say of it, and what
//! Kiln makes of it.
//!
//! Names, defaults and value forms are those of kaniko 1.28 (osscontainertools/kaniko, `cmd/executor/cmd/root.go`),
//! which has all of the last release of GoogleContainerTools/kaniko. As there, a switch takes its value only after `=`,
//! and of a flag given twice the last one counts.
//!
//! Adding a flag: a row here, its use in [`options`](super::options).

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command};

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A switch, and what it is without the flag.
    Switch(bool),
    /// A text, and its default.
    Text(&'static str),
    /// One of several words, the first of which is the default.
    Word(&'static [&'static str]),
    /// A whole number, and its default.
    Number(&'static str),
    /// Texts, one for each time the flag is given.
    List,
}

/// What Kiln makes of a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// What kaniko does.
    Honoured,
    /// Nothing; why that is right. Who gives the flag is warned with this.
    NoEffect(&'static str),
    /// What another flag does, which is its name now.
    Spelling(&'static str),
}

/// One flag.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Its name, without dashes.
    pub name: &'static str,
    /// Its letter.
    pub short: Option<char>,
    /// What it takes.
    pub kind: Kind,
    /// What Kiln makes of it.
    pub fate: Fate,
    /// What it is for.
    pub help: &'static str,
}

use Fate::{Honoured, NoEffect, Spelling};
use Kind::{List, Number, Switch, Text, Word};

const fn flag(name: &'static str, kind: Kind, fate: Fate, help: &'static str) -> Flag {
    Flag { name, short: None, kind, fate, help }
}

const fn short(letter: char, name: &'static str, kind: Kind, fate: Fate, help: &'static str) -> Flag {
    Flag { name, short: Some(letter), kind, fate, help }
}

/// A heading of `--help`, and the flags below it.
pub type Group = (&'static str, &'static [Flag]);

const OWN_ROOT: &str =
    "a RUN has a root of its own: nothing of this container's files is changed, snapshotted or deleted";

/// What is built.
const INPUT: &[Flag] = &[
    short('f', "dockerfile", Text("Dockerfile"), Honoured, "The Dockerfile: a path, a name in the context, or a URL"),
    short(
        'c',
        "context",
        Text("/workspace/"),
        Honoured,
        "The build context: a directory, dir://, tar://FILE, tar://stdin, git://HOST/PATH[#REF[#COMMIT]], s3://, gs://, or \
         https:// of a tar or an Azure blob",
    ),
    flag("context-sub-path", Text(""), Honoured, "Directory of the context to take as its root"),
    short(
        'b',
        "bucket",
        Text(""),
        Honoured,
        "GCS bucket (or URL) with the context as a tar; --context is the newer way",
    ),
    flag("git", List, Honoured, "How Git contexts are fetched: branch=, single-branch=, depth=, recurse-submodules="),
    flag("build-arg", List, Honoured, "Value for an ARG; without a value, from the environment"),
    flag("target", Text(""), Honoured, "Stage to build; of several, separated by commas, the first is pushed"),
    flag("custom-platform", Text(""), Honoured, "Platform to build for, such as linux/arm64"),
    flag("secret", List, Honoured, "Secret for RUN --mount=type=secret: id=ID[,src=FILE|,env=VAR]"),
];

/// Where the result goes.
const OUTPUT: &[Flag] = &[
    short('d', "destination", List, Honoured, "Where to push the image"),
    flag("no-push", Switch(false), Honoured, "Build, and push nothing [env: KANIKO_NO_PUSH]"),
    flag("no-push-cache", Switch(false), Honoured, "Push no layers to the cache"),
    flag("tar-path", Text(""), Honoured, "Write the image as an archive that `docker load` reads"),
    flag("oci-layout-path", Text(""), Honoured, "Write the image as an OCI layout"),
    flag("digest-file", Text(""), Honoured, "Write the digest of the image to this file, or PUT it to this https URL"),
    flag("image-name-with-digest-file", Text(""), Honoured, "Write NAME@DIGEST of every destination to this file"),
    flag(
        "image-name-tag-with-digest-file",
        Text(""),
        Honoured,
        "Write NAME:TAG@DIGEST of every destination to this file",
    ),
    flag("label", List, Honoured, "Label for the image: NAME=VALUE"),
    flag("annotation", List, Honoured, "Annotation for the manifest: NAME=VALUE"),
    flag("compression", Word(&["gzip", "zstd"]), Honoured, "Compression of new layers"),
    flag("compression-level", Number("-1"), Honoured, "Its level; -1 is the usual one"),
    flag("image-format", Word(&["", "oci", "docker"]), Honoured, "Media types of the image; OCI's without it"),
    flag("reproducible", Switch(false), Honoured, "Date everything 1970, or as SOURCE_DATE_EPOCH says"),
    flag("single-snapshot", Switch(false), Honoured, "One layer for all steps"),
    flag("push-retry", Number("0"), Honoured, "How often a failed request of the push is repeated; never less than 5"),
    flag(
        "push-ignore-immutable-tag-errors",
        Switch(false),
        Honoured,
        "Succeed if the registry says that the tag may not move",
    ),
    flag(
        "skip-push-permission-check",
        Switch(false),
        Honoured,
        "Do not try, before the build, whether pushing is allowed",
    ),
];

/// What is not built again.
const CACHE: &[Flag] = &[
    flag("cache", Switch(false), Honoured, "Look steps up in the cache repository, and push what they make to it"),
    flag(
        "cache-repo",
        Text(""),
        Honoured,
        "The cache repository, s3:// or gs:// of a bucket, or oci:DIR [default: <first destination>/cache]",
    ),
    flag("cache-dir", Text("/cache"), Honoured, "Directory with bases that `kiln warmer` fetched"),
    flag("cache-ttl", Text("336h"), Honoured, "How old what is taken from the cache may be"),
    flag("cache-copy-layers", Switch(false), Honoured, "Keep layers of COPY and ADD in the cache repository, too"),
    flag("cache-run-layers", Switch(true), Honoured, "Keep layers of RUN in the cache repository"),
    flag(
        "compressed-caching",
        Switch(true),
        NoEffect("layers are streams and never held in memory, compressed or not"),
        "Hold compressed layers in memory",
    ),
];

/// How registries are reached.
const REGISTRY: &[Flag] = &[
    flag("insecure", Switch(false), Honoured, "Push over plain http or unverified https"),
    flag("insecure-pull", Switch(false), Honoured, "Pull over plain http or unverified https"),
    flag("insecure-registry", List, Honoured, "Registry to reach over plain http or unverified https"),
    flag("skip-tls-verify", Switch(false), Honoured, "Push without verifying certificates"),
    flag("skip-tls-verify-pull", Switch(false), Honoured, "Pull without verifying certificates"),
    flag("skip-tls-verify-registry", List, Honoured, "Registry whose certificate is not verified"),
    flag("registry-certificate", List, Honoured, "Authority to trust for a registry: HOST=FILE"),
    flag("registry-client-cert", List, Honoured, "Client certificate for a registry: HOST=CERT,KEY"),
    flag("registry-map", List, Honoured, "Pull from elsewhere: HOST=MIRROR[;HOST=MIRROR] [env: KANIKO_REGISTRY_MAP]"),
    flag("registry-mirror", List, Honoured, "Mirror of docker.io [env: KANIKO_REGISTRY_MIRROR]"),
    flag(
        "skip-default-registry-fallback",
        Switch(false),
        Honoured,
        "Do not ask a registry itself when its mirrors fail",
    ),
    flag(
        "image-download-retry",
        Number("0"),
        Honoured,
        "How often a failed request of a pull is repeated; never less than 5",
    ),
    flag(
        "credential-helpers",
        List,
        Honoured,
        "Clouds that sell logins: env, google, ecr, acr, gitlab [default: all]; an empty one for none",
    ),
];

/// How kaniko uses the files of its container, which Kiln leaves alone.
const FILES: &[Flag] = &[
    flag(
        "snapshot-mode",
        Word(&["full", "redo", "time"]),
        NoEffect(
            "what a RUN changed is known from the file system, at the speed of redo and with the certainty of full",
        ),
        "How changed files are found",
    ),
    flag(
        "use-new-run",
        Switch(false),
        NoEffect("what a RUN changed is known from the file system already"),
        "Another way to find changed files",
    ),
    flag("ignore-path", List, NoEffect(OWN_ROOT), "Path that is never part of a layer"),
    flag("ignore-var-run", Switch(true), NoEffect(OWN_ROOT), "Leave /var/run out of layers"),
    flag("whitelist-var-run", Switch(true), Spelling("ignore-var-run"), "Leave /var/run out of layers"),
    flag("kaniko-dir", Text(""), Honoured, "Directory for all that is kept while building [env: KANIKO_DIR]"),
    flag("pre-cleanup", Switch(false), NoEffect(OWN_ROOT), "Delete this container's files before the build"),
    flag("cleanup", Switch(false), NoEffect(OWN_ROOT), "Delete this container's files after the build"),
    flag("preserve-context", Switch(false), NoEffect(OWN_ROOT), "Keep the context when files are deleted"),
    flag(
        "materialize",
        Switch(false),
        NoEffect(
            "the files of the image are not put over this container's; `kiln build -o DIR` writes them to a directory",
        ),
        "Leave the files of the image in this container",
    ),
    flag(
        "image-fs-extract-retry",
        Number("0"),
        NoEffect("layers are verified before they are unpacked; a broken download is repeated by itself"),
        "How often unpacking is repeated",
    ),
    flag("force", Switch(false), NoEffect(OWN_ROOT), "Run outside of a container"),
];

/// What is told.
const LOG: &[Flag] = &[
    short(
        'v',
        "verbosity",
        Word(&["info", "panic", "fatal", "error", "warn", "debug", "trace"]),
        Honoured,
        "How much is told",
    ),
    flag("log-format", Word(&["color", "text", "json"]), Honoured, "How it is told"),
    flag("log-timestamp", Switch(false), Honoured, "Tell the time of day instead of the seconds since the start"),
    flag("dryrun", Switch(false), Honoured, "Print the plan and build nothing"),
];

/// Old spellings.
const OLD: &[Flag] = &[
    flag("snapshotMode", Text(""), Spelling("snapshot-mode"), "Old spelling of --snapshot-mode"),
    flag("customPlatform", Text(""), Spelling("custom-platform"), "Old spelling of --custom-platform"),
    flag("tarPath", Text(""), Spelling("tar-path"), "Old spelling of --tar-path"),
    flag(
        "force-build-metadata",
        Switch(false),
        NoEffect("it has been the default for long"),
        "Write metadata that is the default now",
    ),
    flag(
        "skip-unused-stages",
        Switch(true),
        NoEffect("stages that the target does not need are never built"),
        "Build only stages that are used",
    ),
];

/// All flags.
pub const GROUPS: [Group; 7] = [
    ("Input", INPUT),
    ("Output", OUTPUT),
    ("Cache", CACHE),
    ("Registries", REGISTRY),
    ("Files of the container", FILES),
    ("Log", LOG),
    ("Old spellings", OLD),
];

/// The flags of some groups.
pub fn flags(groups: &[Group]) -> impl Iterator<Item = &Flag> {
    groups.iter().flat_map(|(_, flags)| flags.iter())
}

/// Adds the flags to a command.
pub fn add(mut command: Command, groups: &[Group]) -> Command {
    for (heading, flags) in groups {
        for flag in *flags {
            command = command.arg(argument(flag).help_heading(*heading));
        }
    }
    command.args_override_self(true)
}

fn argument(flag: &Flag) -> Arg {
    let hidden = matches!(flag.fate, Spelling(_)) || matches!(flag.name, "bucket" | "force-build-metadata");
    let help = match flag.fate {
        NoEffect(_) => format!("{} (no effect)", flag.help),
        _ => flag.help.to_owned(),
    };
    let mut arg = Arg::new(flag.name).long(flag.name).help(help).hide(hidden);
    if let Some(letter) = flag.short {
        arg = arg.short(letter);
    }
    match flag.kind {
        Switch(default) => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .default_value(if default { "true" } else { "false" })
            .value_name("BOOL")
            .hide_default_value(!default)
            .value_parser(boolean),
        Text(default) => {
            let arg = arg.action(ArgAction::Set).value_name("TEXT").allow_hyphen_values(true);
            arg.default_value(default).hide_default_value(default.is_empty())
        }
        Word(words) => {
            let arg = arg.action(ArgAction::Set).value_name("WORD").value_parser(PossibleValuesParser::new(words));
            let arg = arg.hide_possible_values(words[0].is_empty());
            arg.default_value(words[0]).hide_default_value(words[0].is_empty())
        }
        Number(default) => {
            let arg = arg.action(ArgAction::Set).value_name("N").allow_negative_numbers(true);
            arg.value_parser(clap::value_parser!(i64)).default_value(default)
        }
        List => arg.action(ArgAction::Append).value_name("TEXT").allow_hyphen_values(true),
    }
}

/// What Go's `strconv.ParseBool` takes.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// What was given on a command line.
#[derive(Debug, Clone)]
pub struct Given(ArgMatches);

impl Given {
    /// Of a parsed command line of a command with [`add`]ed flags.
    pub fn new(matches: &ArgMatches) -> Given {
        Given(matches.clone())
    }

    /// Whether the user gave it.
    pub fn has(&self, name: &str) -> bool {
        self.0.value_source(name) == Some(clap::parser::ValueSource::CommandLine)
    }

    /// The value of a flag that this command has.
    fn one<T: Clone + Send + Sync + 'static>(&self, name: &str) -> Option<&T> {
        self.0.try_get_one::<T>(name).ok().flatten()
    }

    /// A switch.
    pub fn switch(&self, name: &str) -> bool {
        self.one::<bool>(name).copied().unwrap_or(false)
    }

    /// A text or word.
    pub fn text(&self, name: &str) -> &str {
        self.one::<String>(name).map_or("", String::as_str)
    }

    /// A text that is not empty.
    pub fn some(&self, name: &str) -> Option<String> {
        Some(self.text(name)).filter(|t| !t.is_empty()).map(str::to_owned)
    }

    /// A number.
    pub fn number(&self, name: &str) -> i64 {
        self.one::<i64>(name).copied().unwrap_or(0)
    }

    /// All values of a list.
    pub fn list(&self, name: &str) -> Vec<String> {
        let values = self.0.try_get_many::<String>(name).ok().flatten();
        values.map(|values| values.cloned().collect()).unwrap_or_default()
    }

    /// What the user is to know of the flags they gave: which have no effect, and which have another name now.
    pub fn warnings(&self, groups: &[Group]) -> Vec<String> {
        let given = flags(groups).filter(|flag| self.has(flag.name));
        given
            .filter_map(|flag| match flag.fate {
                Honoured => None,
                NoEffect(why) => Some(format!("--{} has no effect: {why}", flag.name)),
                Spelling(now) => Some(format!("Flag --{} is deprecated. Use: --{now}", flag.name)),
            })
            .collect()
    }
}
