//! Signatures of images in registries, made and verified as cosign does: a layer under the tag `sha256-HEX.sig`, which
//! all of its versions read, and a Sigstore bundle among the referrers, which the newer ones prefer. Attestations are
//! signed as bundles.
//!
//! What a registry has is not believed: a signature counts only if the given key made it of this very digest.

use std::collections::BTreeSet;

use kiln_attest::{AttestError, Bundle, Payload, PrivateKey, PublicKey, Statement, bundle, signature};
use kiln_oci::{Descriptor, Digest, Manifest, Reference, media};
use kiln_registry::Client;

use crate::attest::Attached;
use crate::error::{EngineError, Result};
use crate::images::parse_manifest;
use crate::output::Artifact;
use crate::transfer::push::check_target;

/// Signatures and attestations of one image that are looked at; who can write to a repository can put any number there.
const MAX_SIGNATURES: usize = 256;

/// What was found that a key signed.
#[derive(Debug)]
pub struct Verified {
    /// The image that the name stands for.
    pub digest: Digest,
    /// Signatures, by what the signer called the image; empty where the format does not say.
    pub signatures: Vec<String>,
    /// Attestations.
    pub statements: Vec<Statement>,
    /// What was there and does not count, and why.
    pub others: Vec<String>,
}

/// Signs what was pushed under a name: the image or index, the images in it, and what is said of them.
///
/// # Errors
/// When the registry refuses.
pub fn artifact(name: &Reference, artifact: &Artifact, key: &PrivateKey, client: &Client) -> Result<()> {
    let images: Vec<&Descriptor> = artifact.images.iter().map(|image| &image.descriptor).collect();
    together(name, &artifact.root, &images, &artifact.attached, key, client)
}

/// [`artifact`] for an index or image and the images that are meant by it.
///
/// # Errors
/// When the registry refuses.
pub fn together(
    name: &Reference,
    root: &Descriptor,
    images: &[&Descriptor],
    attached: &[Attached],
    key: &PrivateKey,
    client: &Client,
) -> Result<()> {
    let mut signed = BTreeSet::new();
    for descriptor in std::iter::once(&root).chain(images) {
        if signed.insert(descriptor.digest.clone()) {
            image(name, descriptor, key, client)?;
        }
    }
    for attached in attached {
        let Some(image) = images.iter().find(|image| image.digest == attached.image) else { continue };
        for (_, statement) in &attached.statements {
            attach(name, image, statement, key, client)?;
            // Who asks for the only image asks by the digest of the index.
            if images.len() == 1 {
                attach(name, root, statement, key, client)?;
            }
        }
    }
    Ok(())
}

/// Signs one image or index of a repository.
///
/// # Errors
/// When the registry refuses.
pub fn image(name: &Reference, image: &Descriptor, key: &PrivateKey, client: &Client) -> Result<()> {
    check_target(name)?;
    let payload = Payload::of(name, &image.digest).bytes();
    let tagged = Reference { tag: Some(signature::tag(&image.digest)), digest: None, ..name.clone() };
    let mut layers = signatures(&tagged, client)?;
    // Signatures of one key that say the same are one.
    let (said, public) = (Digest::of(&payload), key.public());
    let says = |layer: &Descriptor| {
        layer.digest == said && Payload::verified(&payload, &layer.annotations, &image.digest, &public).is_ok()
    };
    if !layers.iter().any(says) {
        let layer = signature::layer(&payload, key).map_err(cannot_sign(name))?;
        layers.push(layer.clone());
        let (manifest, config) = signature::manifest(layers);
        push(client, name, &[(&layer, &payload), (&manifest.config, &config)])?;
        client.push_manifest(&tagged, media::OCI_MANIFEST, serde_json::to_vec(&manifest).unwrap_or_default())?;
    }
    let statement = Statement::signed(&image.digest, bundle::SIGNED);
    let found = Found { name, image, key: &public, client };
    if !found.bundles()?.0.contains(&statement) {
        attach(name, image, &statement, key, client)?;
    }
    Ok(())
}

/// Signs a statement about an image, and puts it beside it.
fn attach(
    name: &Reference,
    image: &Descriptor,
    statement: &Statement,
    key: &PrivateKey,
    client: &Client,
) -> Result<()> {
    let statement = statement.also_about(&image.digest);
    let signed = Bundle::sign(&statement, key).map_err(cannot_sign(name))?.bytes();
    let (manifest, bytes, entry) = bundle::manifest(image, &signed, &statement.predicate_type);
    push(client, name, &[(&manifest.layers[0], &signed), (&manifest.config, media::EMPTY)])?;
    Ok(client.push_referrer(name, &image.digest, &entry, bytes)?)
}

fn cannot_sign(name: &Reference) -> impl Fn(AttestError) -> EngineError {
    move |source| EngineError::Attest { what: format!("cannot sign {name}"), source }
}

fn push(client: &Client, name: &Reference, blobs: &[(&Descriptor, &[u8])]) -> Result<()> {
    for (descriptor, bytes) in blobs {
        let open = || Ok(Box::new(std::io::Cursor::new(bytes.to_vec())) as Box<dyn std::io::Read + Send>);
        client.push_blob(name, descriptor, &open, &|_| ())?;
    }
    Ok(())
}

/// The layers of the manifest with signatures; none if there is no such manifest.
fn signatures(tagged: &Reference, client: &Client) -> Result<Vec<Descriptor>> {
    match client.manifest(tagged) {
        Ok(fetched) => Ok(parse_manifest(&tagged.to_string(), &fetched.descriptor, &fetched.bytes)?.layers),
        Err(e) if e.is_not_found() => Ok(Vec::new()),
        Err(e) => Err(e.into()),
    }
}

/// A small blob of a repository.
fn blob(client: &Client, at: &Reference, descriptor: &Descriptor, max: u64) -> Result<Vec<u8>> {
    if descriptor.size > max {
        let source = AttestError::Document(format!("it has {} bytes, and {max} are the most", descriptor.size));
        return Err(EngineError::Attest { what: descriptor.digest.to_string(), source });
    }
    let mut bytes = Vec::new();
    client.blob(at, descriptor, &mut bytes, &|_| ())?;
    Ok(bytes)
}

/// Finds what `key` signed of the image that a name stands for.
///
/// # Errors
/// When there is no such image, or the registry cannot be asked.
pub fn verify(name: &Reference, key: &PublicKey, client: &Client) -> Result<Verified> {
    let image = client.resolve(name)?;
    let tagged = Reference { tag: Some(signature::tag(&image.digest)), digest: None, ..name.clone() };
    let layers = signatures(&tagged, client)?;
    let (digest, signatures, statements, others) = (image.digest.clone(), Vec::new(), Vec::new(), Vec::new());
    let mut verified = Verified { digest, signatures, statements, others };
    for layer in layers.iter().take(MAX_SIGNATURES) {
        let read = blob(client, &tagged, layer, signature::MAX_PAYLOAD)?;
        match Payload::verified(&read, &layer.annotations, &image.digest, key) {
            Ok(payload) => verified.signatures.push(payload.reference().to_owned()),
            Err(e) => verified.others.push(format!("signature {}: {e}", layer.digest.short())),
        }
    }
    let (statements, others) = Found { name, image: &image, key, client }.bundles()?;
    verified.others.extend(others);
    for statement in statements {
        match statement.predicate_type == bundle::SIGNED {
            true => verified.signatures.push(String::new()),
            false => verified.statements.push(statement),
        }
    }
    Ok(verified)
}

/// Where bundles about an image are looked for.
struct Found<'a> {
    name: &'a Reference,
    image: &'a Descriptor,
    key: &'a PublicKey,
    client: &'a Client,
}

impl Found<'_> {
    /// Statements in bundles among the image's referrers that hold, and why others do not.
    fn bundles(&self) -> Result<(Vec<Statement>, Vec<String>)> {
        let (mut statements, mut others) = (Vec::new(), Vec::new());
        let referrers = self.client.referrers(self.name, &self.image.digest)?;
        // cosign lists its bundles under the type of what is empty where it keeps the list itself.
        let kinds = [bundle::MEDIA_TYPE, media::OCI_EMPTY];
        let of_kind = |d: &&Descriptor| d.artifact_type.as_deref().is_none_or(|kind| kinds.contains(&kind));
        for referrer in referrers.iter().filter(of_kind).take(MAX_SIGNATURES) {
            match self.statement(referrer) {
                Ok(Some(statement)) => statements.push(statement),
                Ok(None) => {}
                Err(e) => others.push(format!("bundle {}: {}", referrer.digest.short(), crate::rootfs::chain_text(&e))),
            }
        }
        Ok((statements, others))
    }

    /// The statement of a referrer; `None` if it is something else than a bundle.
    fn statement(&self, referrer: &Descriptor) -> Result<Option<Statement>> {
        let fetched = self.client.manifest(&self.name.at(referrer.digest.clone()))?;
        let manifest: Manifest = parse_manifest(&self.name.to_string(), &fetched.descriptor, &fetched.bytes)?;
        let Some(layer) = manifest.layers.first().filter(|l| l.media_type == bundle::MEDIA_TYPE) else {
            return Ok(None);
        };
        let bytes = blob(self.client, self.name, layer, bundle::MAX_BUNDLE)?;
        let failed = |source| EngineError::Attest { what: layer.digest.short(), source };
        let bundle = Bundle::parse(&bytes).map_err(failed)?;
        bundle.verified(&self.image.digest, self.key).map(Some).map_err(failed)
    }
}
