//! What cloud-init gets: the host key that the machine is to have, beside what the template says.
//!
//! The key is of ECDSA: also old versions of cloud-init take one. On a machine that starts from the image later cloud-init
//! makes new ones, as it does for every new machine, so that nobody has this one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kiln_host::keys::{Kind, PrivateKey, PublicKey};

use crate::error::{NodeError, Result};

/// What cloud-init gets is 16 KiB at the most, before it becomes base64.
const LIMIT: usize = 16 << 10;

/// User data in base64, and the key that is in it.
pub struct UserData {
    /// For the machine.
    pub text: Option<String>,
    /// What it will prove to have.
    pub host_key: Option<PublicKey>,
}

/// Whether a host key can go along with this.
pub fn takes_key(own: Option<&str>) -> bool {
    own.is_none_or(|own| kind_of(own).is_some())
}

/// User data with a host key that is made for it.
///
/// # Errors
/// When no key can be made, or there is no room for it.
pub fn with_key(own: Option<&str>) -> Result<UserData> {
    let failed =
        |e: kiln_host::HostError| NodeError::Machine { action: "making a host key".to_owned(), why: e.to_string() };
    let key = PrivateKey::generate(Kind::Ecdsa(256), "").map_err(failed)?;
    let private = key.openssh().map_err(failed)?;
    let ours = cloud_config(private.expose(), &key.public().line());
    let text = match own {
        None => ours,
        Some(own) => both(own, &ours),
    };
    if text.len() > LIMIT {
        let what = format!("the user data has {} bytes with the host key, and {LIMIT} are allowed", text.len());
        let hint = Some(
            "make it shorter, or do without a known host key: \"ssh_strict_host_key_checking\": \"no\"".to_owned(),
        );
        return Err(NodeError::Unsupported { what, hint });
    }
    Ok(UserData { text: Some(STANDARD.encode(text)), host_key: Some(key.public()) })
}

/// What the template says, alone.
pub fn alone(own: Option<&str>) -> UserData {
    UserData { text: own.map(|own| STANDARD.encode(own)), host_key: None }
}

fn cloud_config(private: &str, public: &str) -> String {
    let lines: String = private.trim_end().lines().map(|line| format!("    {line}\n")).collect();
    format!("#cloud-config\nssh_keys:\n  ecdsa_private: |\n{lines}  ecdsa_public: {}\n", public.trim())
}

/// The type of a part, told by its first line as cloud-init does; nothing if it already consists of parts, or is for none
/// of cloud-init.
fn kind_of(own: &str) -> Option<&'static str> {
    const KINDS: [(&str, &str); 6] = [
        ("#!", "text/x-shellscript"),
        ("#cloud-config-archive", "text/cloud-config-archive"),
        ("#cloud-config", "text/cloud-config"),
        ("#cloud-boothook", "text/cloud-boothook"),
        ("#include", "text/x-include-url"),
        ("## template: jinja", "text/jinja2"),
    ];
    KINDS.iter().find(|(begin, _)| own.starts_with(begin)).map(|(_, kind)| *kind)
}

fn both(own: &str, ours: &str) -> String {
    const BOUNDARY: &str = "==kiln-host-key==";
    let part = |kind: &str, text: &str| {
        // What is not ASCII would need to be told so; base64 is.
        let text = STANDARD.encode(text);
        let lines: Vec<&str> = text.as_bytes().chunks(76).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        let head = "Content-Transfer-Encoding: base64\nMIME-Version: 1.0";
        format!("--{BOUNDARY}\nContent-Type: {kind}; charset=\"utf-8\"\n{head}\n\n{}\n", lines.join("\n"))
    };
    let first = kind_of(own).map(|kind| part(kind, own)).unwrap_or_default();
    // A key that the template gives itself is kept.
    let merge = "Merge-Type: dict(no_replace,recurse_list)+list(append)";
    let second = part("text/cloud-config", ours);
    let head = format!("Content-Type: multipart/mixed; boundary=\"{BOUNDARY}\"\nMIME-Version: 1.0\n{merge}\n");
    format!("{head}\n{first}{second}--{BOUNDARY}--\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: Option<String>) -> String {
        String::from_utf8(STANDARD.decode(text.unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn the_host_key_is_a_cloud_config_of_its_own_or_a_part() {
        let made = with_key(None).unwrap();
        let text = decoded(made.text);
        let line = made.host_key.unwrap().line();
        assert!(text.starts_with("#cloud-config\nssh_keys:\n  ecdsa_private: |\n    -----BEGIN OPENSSH"), "{text}");
        assert!(text.contains(&format!("  ecdsa_public: {}\n", line.trim())), "{text}");

        let text = decoded(with_key(Some("#!/bin/sh\necho ü\n")).unwrap().text);
        assert!(text.starts_with("Content-Type: multipart/mixed; boundary=\"==kiln-host-key==\""), "{text}");
        let (shell, cloud) = (text.find("text/x-shellscript").unwrap(), text.find("text/cloud-config").unwrap());
        assert!(shell < cloud && text.contains(&STANDARD.encode("#!/bin/sh\necho ü\n")));
        assert_eq!(decoded(alone(Some("x")).text), "x");
    }

    #[test]
    fn what_consists_of_parts_already_is_left_alone() {
        assert!(takes_key(None) && takes_key(Some("#cloud-config\n")) && takes_key(Some("#!/bin/sh\n")));
        assert!(!takes_key(Some("Content-Type: multipart/mixed")) && !takes_key(Some("[bat]\n")));
        assert!(with_key(Some(&format!("#!/bin/sh\n{}", "x".repeat(16 << 10)))).is_err());
    }
}
