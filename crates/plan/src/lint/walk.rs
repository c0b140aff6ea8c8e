//! Rules about what the planner met in the stages it walked.

use std::collections::BTreeMap;

use kiln_spec::port::Oddity;

use super::seen::{Keyword, Seen};
use super::{Finding, Scene};

/// Words of a name that say that its value is a secret.
const SECRET: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];

/// Words of a name that say that it is not.
const HARMLESS: [&str; 3] = ["public", "file", "version"];

/// Whether a variable of this name holds a secret, as far as names tell.
pub fn names_a_secret(name: &str) -> bool {
    let lower = name.to_lowercase();
    let has = |words: &[&str]| lower.split('_').any(|part| words.contains(&part));
    has(&SECRET) && !has(&HARMLESS)
}

/// A shell between a container and its process swallows signals, unless the author chose that shell.
pub(super) fn json_args_recommended(scene: &Scene<'_>) -> Vec<Finding> {
    let bare = |seen: &Seen| match seen {
        Seen::Command { keyword, bare_shell: true, span, .. } => {
            let keyword = keyword.name();
            let message = format!("the shell form of `{keyword}` keeps signals from the process");
            let hint = format!("write a JSON array: `{keyword} [\"program\", \"argument\"]`");
            Some(Finding::new(*span, message).hint(Some(hint)))
        }
        _ => None,
    };
    scene.seen.iter().filter_map(bare).collect()
}

/// The place is that of the one before: it is the one that counts for nothing.
pub(super) fn multiple_instructions(scene: &Scene<'_>) -> Vec<Finding> {
    let mut last = BTreeMap::new();
    let mut found = Vec::new();
    for seen in scene.seen {
        let Seen::Command { stage, keyword, span, .. } = seen else { continue };
        if let Some(earlier) = last.insert((*stage, *keyword), *span) {
            let message = format!("more than one `{}` in a stage: only the last one counts", keyword.name());
            found.push(Finding::new(earlier, message));
        }
    }
    found
}

pub(super) fn legacy_key_value_format(scene: &Scene<'_>) -> Vec<Finding> {
    let legacy = |seen: &Seen| match seen {
        Seen::Pair { keyword, key, legacy: true, span } => {
            let keyword = keyword.name();
            let hint = format!("write `{keyword} {key}=…`");
            Some(Finding::new(*span, format!("`{keyword} key value` is the old form")).hint(Some(hint)))
        }
        _ => None,
    };
    scene.seen.iter().filter_map(legacy).collect()
}

pub(super) fn secrets_used_in_arg_or_env(scene: &Scene<'_>) -> Vec<Finding> {
    let secret = |seen: &Seen| match seen {
        Seen::Pair { keyword: keyword @ (Keyword::Arg | Keyword::Env), key, span, .. } if names_a_secret(key) => {
            let message = format!("`{} {key}` is no place for a secret: it stays in the image", keyword.name());
            Some(Finding::new(*span, message))
        }
        _ => None,
    };
    scene.seen.iter().filter_map(secret).collect()
}

pub(super) fn undefined_var(scene: &Scene<'_>) -> Vec<Finding> {
    let unset = |seen: &Seen| match seen {
        Seen::Unset { name, near, span } => {
            let meant = near.as_ref().map(|near| format!("did you mean `${near}`?"));
            Some(Finding::new(*span, format!("the variable `${name}` is not defined here")).hint(meant))
        }
        _ => None,
    };
    scene.seen.iter().filter_map(unset).collect()
}

pub(super) fn workdir_relative_path(scene: &Scene<'_>) -> Vec<Finding> {
    let relative = |seen: &Seen| match seen {
        Seen::Workdir { path, first: true, span } if !path.starts_with('/') => {
            let message = format!("the relative path `{path}` depends on the working directory of the base image");
            Some(Finding::new(*span, message))
        }
        _ => None,
    };
    scene.seen.iter().filter_map(relative).collect()
}

pub(super) fn invalid_base_image_platform(scene: &Scene<'_>) -> Vec<Finding> {
    let foreign = |seen: &Seen| match seen {
        Seen::Base { is, wanted, span } if is.os != wanted.os || is.architecture != wanted.architecture => {
            let message = format!("the base image is for {is}, but the stage is built for {wanted}");
            Some(Finding::new(*span, message))
        }
        _ => None,
    };
    scene.seen.iter().filter_map(foreign).collect()
}

pub(super) fn copy_ignored_file(scene: &Scene<'_>) -> Vec<Finding> {
    let excluded = |seen: &Seen| match seen {
        Seen::Excluded { keyword, path, rule: (place, pattern), span } => {
            let message = format!("`{} {path}`: .dockerignore excludes it from the context", keyword.name());
            Some(Finding::new(*span, message).note(Some(format!("`{place}` excludes it with `{pattern}`"))))
        }
        _ => None,
    };
    scene.seen.iter().filter_map(excluded).collect()
}

fn odd_ports(scene: &Scene<'_>, wanted: Oddity, message: impl Fn(&str) -> String) -> Vec<Finding> {
    let odd = |seen: &Seen| match seen {
        Seen::Port { text, odd, span } if odd.contains(&wanted) => Some(Finding::new(*span, message(text))),
        _ => None,
    };
    scene.seen.iter().filter_map(odd).collect()
}

pub(super) fn expose_proto_casing(scene: &Scene<'_>) -> Vec<Finding> {
    odd_ports(scene, Oddity::ProtocolCase, |text| format!("the protocol of `{text}` should be lowercase"))
}

pub(super) fn expose_invalid_format(scene: &Scene<'_>) -> Vec<Finding> {
    odd_ports(scene, Oddity::HostPart, |text| {
        format!("`{text}` names an address or port of the host, which means nothing in EXPOSE")
    })
}

#[cfg(test)]
mod tests {
    use super::names_a_secret;

    #[test]
    fn names_of_secrets() {
        for yes in ["TOKEN", "api_key", "DATABASE_PASSWORD", "secret_MESSAGE", "AUTH", "Git_Credentials_x", "apikey"] {
            assert!(names_a_secret(yes), "{yes}");
        }
        for no in ["MONKEY", "TOKENS", "PUBLIC_KEY", "SECRET_FILE", "AUTH_VERSION", "keyring", "", "_"] {
            assert!(!names_a_secret(no), "{no}");
        }
    }
}
