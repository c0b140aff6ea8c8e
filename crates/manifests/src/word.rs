//! What a word looks like.

/// Parts of a template that is still to be rendered: Go's, a shell's, Kubernetes' own `$(VAR)`.
pub fn is_template(text: &str) -> bool {
    ["{{", "}}", "${", "$("].iter().any(|sign| text.contains(sign))
}

/// Whether it is certainly no name of an image: an address, data, a picture, a disk, prose.
pub fn is_something_else(text: &str) -> bool {
    const ENDS: [&str; 17] = [
        ".png", ".svg", ".jpg", ".jpeg", ".gif", ".ico", ".webp", ".qcow2", ".vmdk", ".vhd", ".ova", ".iso", ".img",
        ".raw", ".gz", ".xz", ".zip",
    ];
    let lower = text.to_ascii_lowercase();
    text.contains("://")
        || lower.starts_with("data:")
        || text.contains(char::is_whitespace)
        || ENDS.iter().any(|end| lower.ends_with(end))
}

/// Whether it can hardly be anything but a name of an image: a registry with a dot or port, a path, a tag or digest.
pub fn is_full_name(text: &str) -> bool {
    let Some((host, path)) = text.split_once('/') else { return false };
    let is_host = host.contains('.') || host.contains(':') || host == "localhost";
    let has_version = path.rsplit('/').next().is_some_and(|last| last.contains(':')) || path.contains("@sha256:");
    is_host && has_version && !text.starts_with(['/', '.', '-']) && !is_something_else(text)
}

/// Whether it has anything that a bare word has not.
pub fn is_structured(text: &str) -> bool {
    text.contains(['/', ':', '@'])
}

/// Whether a key is for an image: `image`, `…Image`, `…-image`, `…_image`.
pub fn is_image_key(key: &str) -> bool {
    key == "image" || key.ends_with("Image") || key.ends_with("-image") || key.ends_with("_image")
}

/// Whether a key is for several.
pub fn is_images_key(key: &str) -> bool {
    key == "images" || key.ends_with("Images")
}

/// Whether the name of a variable, argument or annotation says that its value is an image: its last word does, or it is
/// one of the `RELATED_IMAGE_…` that operators have.
pub fn names_image(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let last = lower.rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    last.ends_with("image") || last.ends_with("images") || lower.starts_with("related_image_")
}

/// Whether a value may be a name at all, where nothing but its key says so: not a switch, not a number.
pub fn may_be_name(text: &str) -> bool {
    let switch = ["true", "false", "yes", "no", "on", "off", "null", "none", "auto", "default"];
    text.contains(|c: char| c.is_ascii_alphabetic()) && !is_something_else(text) && !switch.contains(&text)
}

/// [`is_something_else`], for values that may hold templates with spaces in them.
pub fn is_something_else_here(text: &str) -> bool {
    !is_template(text) && is_something_else(text)
}
