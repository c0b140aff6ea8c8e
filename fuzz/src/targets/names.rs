//! Words: references, digests, platforms, repositories, times, owners, modes, ports, sizes.

use kiln_oci::name::{DotDot, escape, is_normal, normalise};
use kiln_oci::time::{parse_rfc3339, rfc3339};
use kiln_oci::{Digest, Platform, Reference};
use kiln_plan::git;
use kiln_spec::chmod::Chmod;
use kiln_spec::diag::did_you_mean;
use kiln_spec::{duration, login, owner, port, size};

use super::text;

/// Tries the text as each kind of word.
pub fn run(bytes: &[u8]) {
    for dotdot in [DotDot::Clamp, DotDot::Reject] {
        if let Ok(path) = normalise(bytes, dotdot) {
            assert!(is_normal(&path));
            assert_eq!(normalise(&path, dotdot).as_ref(), Ok(&path), "what is normal stays");
        }
    }
    assert!(!escape(bytes).contains(char::is_whitespace), "an escaped name is one word");
    let Ok(text) = std::str::from_utf8(bytes) else { return drop(text(bytes)) };
    reference(text);
    assert_eq!(login::hidden_in_place(text).len(), text.len());
    assert_eq!(login::hidden(&login::hidden(text)), login::hidden(text), "what is hidden stays hidden");
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
    }
    if let Ok(platform) = text.parse::<Platform>() {
        assert_eq!(platform.to_string().parse::<Platform>().as_ref(), Ok(&platform));
    }
    if let Ok(time) = parse_rfc3339(text) {
        assert_eq!(parse_rfc3339(&rfc3339(time)), Ok(time));
    }
    if let Some(Ok(url)) = git::parse(text) {
        assert!(!url.remote.starts_with('-'), "an option for git");
        assert!(url.reference.is_none_or(|r| !r.starts_with('-')), "an option for git");
        assert!(url.subdir.split('/').all(|part| part != ".."), "it leaves the checkout");
    }
    if let Ok(mode) = Chmod::parse(text) {
        assert!(mode.apply(0o4755, true) <= 0o7777 && mode.apply(0, false) <= 0o7777);
    }
    let _ = (duration::parse(text), size::parse(text), owner::parse(text), did_you_mean(text, ["FROM", "RUN"]));
    if let Ok((ports, _)) = port::parse(text) {
        assert!(ports.each().all(|p| !p.is_empty()));
    }
}

fn reference(text: &str) {
    let Ok(reference) = text.parse::<Reference>() else { return };
    for printed in [reference.to_string(), reference.familiar()] {
        let again: Reference = printed.parse().expect("what is printed can be parsed");
        assert_eq!((&again.registry, &again.repository), (&reference.registry, &reference.repository), "{printed}");
        assert_eq!((again.target(), &again.digest), (reference.target(), &reference.digest), "{printed}");
    }
    // It becomes part of URLs and of paths in the store.
    let unsafe_part = |part: &str| part.is_empty() || part == "." || part == "..";
    assert!(!reference.repository.split('/').any(unsafe_part), "{reference}");
    assert!(!reference.to_string().contains(|c: char| c.is_whitespace() || c.is_control() || "?#%\\".contains(c)));
}
