//! Git references as `ADD` and build contexts write them.
//!
//! Forms (Docker's "Git contexts" and the query form of frontend 1.18): `git://host/path`, `ssh://…`,
//! `user@host:path`, `https://host/path.git`, each with `#ref[:subdir]` or `?branch=…&tag=…&ref=…&commit=…&subdir=…`
//! `&checksum=…&keep-git-dir=…&submodules=…`.

/// A parsed reference.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GitUrl {
    /// What `git` is given as remote.
    pub remote: String,
    /// Branch, tag or commit.
    pub reference: Option<String>,
    /// Directory below the checkout; empty is all of it.
    pub subdir: String,
    /// A prefix of the commit that must be found.
    pub checksum: Option<String>,
    /// Whether `.git` is kept.
    pub keep_git_dir: Option<bool>,
    /// Whether submodules are fetched.
    pub submodules: Option<bool>,
}

/// Why a Git reference cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GitUrlError {
    /// A part that would be read as an option or leaves the checkout.
    #[error("`{0}` is not allowed in a Git reference")]
    Unsafe(String),
    /// An unknown or repeated query key.
    #[error(
        "`{0}` is not an option of a Git reference: expected branch, tag, ref, commit, subdir, checksum, keep-git-dir or submodules"
    )]
    Query(String),
    /// A value that does not fit its key.
    #[error("`{value}` is not a value for `{key}`")]
    Value {
        /// The key.
        key: String,
        /// Its value.
        value: String,
    },
    /// Two different references.
    #[error("the reference is given twice: `{0}` and `{1}`")]
    Twice(String, String),
}

/// Parses `text`; `None` if it is not a Git reference at all.
pub fn parse(text: &str) -> Option<Result<GitUrl, GitUrlError>> {
    let (base, fragment) = text.split_once('#').map_or((text, None), |(b, f)| (b, Some(f)));
    let scheme = base.split_once("://").map(|(s, _)| s);
    let (remote, query) = match scheme {
        Some(_) => base.split_once('?').map_or((base, None), |(b, q)| (b, Some(q))),
        None => (base, None),
    };
    let is_git = match scheme {
        Some("git" | "ssh") => true,
        Some("http" | "https") => remote.ends_with(".git") || query.is_some_and(|_| remote.ends_with(".git/")),
        Some(_) => false,
        None => is_scp(remote),
    };
    is_git.then(|| assemble(remote, query, fragment))
}

/// `user@host:path`, as `scp` writes it.
fn is_scp(text: &str) -> bool {
    let Some((user, rest)) = text.split_once('@') else { return false };
    let Some((host, path)) = rest.split_once(':') else { return false };
    let word =
        |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    word(user) && word(host) && !path.is_empty()
}

fn assemble(remote: &str, query: Option<&str>, fragment: Option<&str>) -> Result<GitUrl, GitUrlError> {
    let mut url = GitUrl { remote: remote.to_owned(), ..GitUrl::default() };
    if let Some((reference, subdir)) = fragment.map(|f| f.split_once(':').unwrap_or((f, ""))) {
        url.reference = Some(reference.to_owned()).filter(|r| !r.is_empty());
        subdir.trim_start_matches('/').clone_into(&mut url.subdir);
    }
    for pair in query.into_iter().flat_map(|q| q.split('&')).filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let flag = || match value {
            "" | "1" | "true" => Ok(true),
            "0" | "false" => Ok(false),
            _ => Err(GitUrlError::Value { key: key.to_owned(), value: value.to_owned() }),
        };
        match key {
            "branch" => set_reference(&mut url, &format!("refs/heads/{value}"))?,
            "tag" => set_reference(&mut url, &format!("refs/tags/{value}"))?,
            "ref" => set_reference(&mut url, value)?,
            "checksum" | "commit" => url.checksum = Some(value.to_owned()),
            "subdir" => value.trim_start_matches('/').clone_into(&mut url.subdir),
            "keep-git-dir" => url.keep_git_dir = Some(flag()?),
            "submodules" => url.submodules = Some(flag()?),
            other => return Err(GitUrlError::Query(other.to_owned())),
        }
    }
    // A word that starts with a dash is an option to git; `..` would leave the checkout.
    let dashed = [Some(&url.remote), url.reference.as_ref()].into_iter().flatten().find(|t| t.starts_with('-'));
    if let Some(bad) = dashed {
        return Err(GitUrlError::Unsafe(bad.clone()));
    }
    if url.subdir.split('/').any(|part| part == "..") {
        return Err(GitUrlError::Unsafe(url.subdir));
    }
    if let Some(bad) = url.checksum.as_ref().filter(|c| c.len() < 7 || !c.bytes().all(|b| b.is_ascii_hexdigit())) {
        return Err(GitUrlError::Value { key: "checksum".to_owned(), value: bad.clone() });
    }
    if let (None, Some(commit)) = (&url.reference, &url.checksum)
        && (commit.len() == 40 || commit.len() == 64)
    {
        url.reference = Some(commit.clone());
    }
    Ok(url)
}

fn set_reference(url: &mut GitUrl, value: &str) -> Result<(), GitUrlError> {
    match &url.reference {
        Some(old) if old != value => Err(GitUrlError::Twice(old.clone(), value.to_owned())),
        _ => {
            url.reference = Some(value.to_owned());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (text, remote, reference, subdir) in [
            ("https://h/x.git", "https://h/x.git", None, ""),
            ("https://h/x.git#v1:sub/dir", "https://h/x.git", Some("v1"), "sub/dir"),
            ("git@h:org/x", "git@h:org/x", None, ""),
            ("git@h:org/x.git#:d", "git@h:org/x.git", None, "d"),
            ("ssh://git@h/x", "ssh://git@h/x", None, ""),
            ("https://h/x.git?branch=main&subdir=a", "https://h/x.git", Some("refs/heads/main"), "a"),
        ] {
            let url = parse(text).unwrap().unwrap();
            assert_eq!((&*url.remote, url.reference.as_deref(), &*url.subdir), (remote, reference, subdir), "{text}");
        }
        for other in ["https://h/x.tar.gz", "dir/file", "a@b", "ftp://h/x.git", "foo.git"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn hostile_references_are_errors() {
        for bad in [
            "https://h/x.git#-upload-pack=x",
            "https://h/x.git#main:../../etc",
            "https://h/x.git?subdir=../x",
            "https://h/x.git?what=1",
            "https://h/x.git?checksum=zz",
            "https://h/x.git?branch=a&tag=b",
        ] {
            assert!(parse(bad).unwrap().is_err(), "{bad}");
        }
    }
}
