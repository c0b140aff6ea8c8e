//! What a registry may say: manifests, refusals, challenges, pages, tokens, and the credentials file.

/// The first byte chooses what the rest is.
pub fn run(bytes: &[u8]) {
    kiln_registry::fuzzing::answer(bytes);
}
