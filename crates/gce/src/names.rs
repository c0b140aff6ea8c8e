//! What names, projects and labels may be.

/// Whether this can be the name of an instance, a disk, an image or a family: up to 63 lower-case letters, digits and
/// hyphens, a letter first, no hyphen last.
pub fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    matches!(bytes.first(), Some(b'a'..=b'z')) && bytes.len() <= 63 && bytes.iter().all(inner) && !text.ends_with('-')
}

/// Whether this can be the identifier of a project, with or without a domain before it.
pub fn is_project(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.' | ':');
    text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.len() <= 100
        && text.chars().all(fits)
}

/// Whether this can be the key of a label.
pub fn is_label_key(text: &str) -> bool {
    text.starts_with(|c: char| c.is_lowercase()) && is_label_value(text)
}

/// Whether this can be the value of a label.
pub fn is_label_value(text: &str) -> bool {
    let fits = |c: char| (c.is_alphabetic() && !c.is_uppercase()) || c.is_ascii_digit() || matches!(c, '_' | '-');
    text.chars().count() <= 63 && text.chars().all(fits)
}

/// Whether this can be the address of an account.
pub fn is_email(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '@' | '.' | '-' | '_' | '+' | '%');
    text.len() <= 320 && text.contains('@') && text.chars().all(fits)
}

/// The region that a zone is in: what is before its last hyphen.
pub fn region_of(zone: &str) -> &str {
    zone.rsplit_once('-').map_or(zone, |(region, _)| region)
}

/// What follows the last slash of an address: the name of what it leads to.
pub fn last(address: &str) -> &str {
    address.rsplit('/').next().unwrap_or(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_the_service_takes() {
        for good in ["a", "packer-1539967803", &"a".repeat(63)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "1a", "A", "a-", "a_b", "a/b", "ä", &"a".repeat(64)] {
            assert!(!is_name(bad), "{bad}");
        }
        assert!(is_project("example.com:web-1") && !is_project("a/b") && !is_project(""));
        assert!(is_label_key("team_a") && !is_label_key("1x") && is_label_value("") && !is_label_value("A"));
        assert!(is_email("sa@p.iam.gserviceaccount.com") && !is_email("a/b@c") && !is_email("a"));
    }

    #[test]
    fn a_zone_has_its_region_and_an_address_its_name() {
        assert_eq!(region_of("europe-west1-b"), "europe-west1");
        assert_eq!(last("https://h/compute/v1/projects/p/regions/r"), "r");
    }

    #[test]
    fn identifiers_of_builds_may_be_in_names_and_labels() {
        let id = kiln_clouds::uuid::random().unwrap();
        assert!(is_name(&format!("packer-{id}")) && is_label_value(&id), "{id}");
    }
}
