//! `kiln verify`: whether a key signed an image, and what it signed of it.

use kiln_attest::provenance::Version;
use kiln_attest::{Statement, bundle, statement};
use kiln_engine::sign::{self, Verified};
use kiln_oci::Reference;
use serde_json::{Value, json};

use crate::cli::Global;
use crate::error::CliError;
use crate::options::RegistryOptions;
use crate::{keys, named};

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The images, in their registries
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// The public key: a file, or env://NAME for the value of a variable
    #[arg(long, value_name = "KEY")]
    key: String,
    /// Ask for a signed attestation instead of a signature: slsaprovenance, spdx, cyclonedx, or a URI
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Print what was signed, as JSON
    #[arg(long)]
    json: bool,
    /// How registries are reached.
    #[command(flatten)]
    registry: RegistryOptions,
}

const EXAMPLES: &str = "\
Examples:
  kiln verify --key cosign.pub registry.example/app:1          the digest, if the key signed it; else exit code 1
  kiln verify --key cosign.pub --json registry.example/app:1   what was signed
  kiln verify --key cosign.pub --type slsaprovenance --json registry.example/app:1 | jq '.[].predicate'

Signatures are cosign's, of a key and not of an identity: the transparency log is not asked.";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let key = keys::public("--key", &args.key)?;
    let kind = args.kind.as_deref().map(predicate_types).transpose()?;
    let (around, progress) = named::online(global, &args.registry, true, "Verifying")?;
    let (mut text, mut signed) = (String::new(), Vec::new());
    for image in &args.images {
        let name = named::reference(image)?;
        let verified = sign::verify(&name, &key, around.images.client())?;
        let of_kind = |s: &&Statement| kind.as_ref().is_some_and(|kinds| kinds.contains(&s.predicate_type));
        let statements: Vec<&Statement> = verified.statements.iter().filter(of_kind).collect();
        if (kind.is_none() && verified.signatures.is_empty()) || (kind.is_some() && statements.is_empty()) {
            progress.finish();
            return Err(unsigned(&name, args, &verified));
        }
        let digest = &verified.digest;
        text += &format!("{}@{digest}\n", named::repository(&name));
        match kind {
            Some(_) => signed.extend(statements.iter().map(|s| json!(s))),
            None => signed.extend(verified.signatures.iter().map(|claimed| claim(&name, claimed, &digest.to_string()))),
        }
    }
    progress.finish();
    if args.json { named::print_json(&Value::Array(signed)) } else { named::print(&text) }
}

/// A signature as `cosign verify` prints it.
fn claim(name: &Reference, claimed: &str, digest: &str) -> Value {
    let (reference, kind) = match claimed {
        "" => (name.to_string(), bundle::SIGNED),
        claimed => (claimed.to_owned(), "cosign container image signature"),
    };
    json!({
        "critical": {
            "identity": { "docker-reference": reference },
            "image": { "docker-manifest-digest": digest },
            "type": kind,
        },
        "optional": null,
    })
}

fn unsigned(name: &Reference, args: &Args, verified: &Verified) -> CliError {
    let what = match &args.kind {
        None => "has no signature".to_owned(),
        Some(kind) => format!("has no signed attestation of the type {kind}"),
    };
    let others = match &verified.others[..] {
        [] => String::new(),
        others => format!("; what is there does not count: {}", others.join(", ")),
    };
    let digest = &verified.digest;
    CliError::input(format!("{name} ({digest}) {what} by the key {}{others}", args.key))
}

/// The predicate types that cosign's names of types stand for.
fn predicate_types(kind: &str) -> Result<Vec<String>, CliError> {
    let of = |types: &[&str]| Ok(types.iter().map(|&t| t.to_owned()).collect());
    match kind {
        "slsaprovenance" | "provenance" => of(&[Version::V1.predicate_type(), Version::V0_2.predicate_type()]),
        "slsaprovenance1" => of(&[Version::V1.predicate_type()]),
        "slsaprovenance02" => of(&[Version::V0_2.predicate_type()]),
        "spdx" | "spdxjson" => of(&[statement::SPDX]),
        "cyclonedx" => of(&[statement::CYCLONEDX]),
        uri if uri.contains("://") => of(&[uri]),
        other => Err(CliError::usage(format!("--type {other}: there is no such type"))
            .with_hint("there are slsaprovenance, spdx and cyclonedx, or the URI of a predicate type")),
    }
}
