//! Artefacts that refer to a manifest: its signatures and attestations.
//!
//! A registry of the distribution specification 1.1 lists them itself. For one that does not, clients keep the list, as
//! an index under a tag made of the digest. Such a list has no lock: whoever writes it looks afterwards whether another
//! client has overwritten it, and writes again.

use bytes::Bytes;
use kiln_oci::{Descriptor, Digest, Index, Reference, media};
use reqwest::Method;
use reqwest::header::{ACCEPT, HeaderValue};

use crate::auth::challenge::Scope;
use crate::call::{Call, Core, Target};
use crate::error::RegistryError;
use crate::listing::MAX_PAGES;

/// The most referrers of one manifest.
const MAX_REFERRERS: usize = 10_000;
/// How often a list is written again that another client has overwritten.
const REWRITES: usize = 5;
/// How many letters of a digest are in a tag.
const TAG_DIGEST: usize = 64;

impl Core {
    /// The artefacts that refer to a manifest, by the referrers interface or, where a registry has none, its tag.
    pub(crate) async fn referrers(
        &self,
        reference: &Reference,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let what = format!("the referrers of {}@{subject}", reference.repository);
        let endpoint = self.endpoint(&reference.registry)?;
        let scopes = [Scope::repository(&reference.repository, &["pull"])];
        let target = Target::Path(format!("{}/referrers/{subject}", reference.repository));
        let mut call = Call::new(Method::GET, target, &reference.repository, &scopes, &what);
        call.headers.insert(ACCEPT, HeaderValue::from_static(kiln_oci::media::OCI_INDEX));
        let mut found = Vec::new();
        for _ in 0..MAX_PAGES {
            match self.page::<Index>(&endpoint, &call).await {
                Ok((index, next)) => {
                    found.extend(index.manifests);
                    match next {
                        Some(url) if found.len() <= MAX_REFERRERS => call.target = Target::Address(url),
                        Some(_) => break,
                        None => return Ok(found),
                    }
                }
                Err(error) if error.is_not_found() => return self.referrers_by_tag(reference, subject).await,
                Err(error) => return Err(error),
            }
        }
        Err(RegistryError::TooLarge { host: endpoint.host.clone(), what, limit: MAX_REFERRERS as u64 })
    }

    async fn referrers_by_tag(
        &self,
        reference: &Reference,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let tagged = list_of(reference, subject);
        let fetched = match self.manifest(&tagged).await {
            Ok(fetched) => fetched,
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let index: Index = serde_json::from_slice(&fetched.bytes).map_err(|_| RegistryError::Protocol {
            host: reference.registry.clone(),
            what: crate::manifest::name(&tagged),
            why: "it is not an index".to_owned(),
        })?;
        Ok(index.manifests)
    }

    /// Pushes a manifest that refers to `subject`, and sees to it that it is listed. `entry` describes it.
    pub(crate) async fn push_referrer(
        &self,
        reference: &Reference,
        subject: &Digest,
        entry: &Descriptor,
        bytes: Bytes,
    ) -> Result<(), RegistryError> {
        let at = reference.at(entry.digest.clone());
        let pushed = self.push_manifest_told(&at, &entry.media_type, bytes).await?;
        if pushed.lists_referrers {
            return Ok(());
        }
        for _ in 0..REWRITES {
            let mut listed = self.referrers_by_tag(reference, subject).await?;
            if listed.iter().any(|other| other.digest == entry.digest) {
                return Ok(());
            }
            listed.push(entry.clone());
            let index = serde_json::to_vec(&Index::new(listed)).unwrap_or_default();
            self.push_manifest_told(&list_of(reference, subject), media::OCI_INDEX, index.into()).await?;
        }
        let listed = self.referrers_by_tag(reference, subject).await?;
        match listed.iter().any(|other| other.digest == entry.digest) {
            true => Ok(()),
            false => Err(RegistryError::Protocol {
                host: reference.registry.clone(),
                what: crate::manifest::name(&list_of(reference, subject)),
                why: "other clients overwrite it all the time".to_owned(),
            }),
        }
    }
}

/// Where the list of referrers is, if clients keep it.
fn list_of(reference: &Reference, subject: &Digest) -> Reference {
    let hex: String = subject.hex().chars().take(TAG_DIGEST).collect();
    Reference { tag: Some(format!("{}-{hex}", subject.algorithm())), digest: None, ..reference.clone() }
}
