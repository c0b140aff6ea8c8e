//! Users and passwords: files of `htpasswd -B`, the one form that Docker's registry takes.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use http::header::WWW_AUTHENTICATE;
use tokio::sync::Semaphore;

use crate::error::ServeError;
use crate::fresh::Fresh;
use crate::library::locked;
use crate::refusal::{Code, Refusal};

/// The longest file.
const LONGEST: u64 = 4 << 20;
/// bcrypt doubles its work with each step; this is some seconds.
const MAX_COST: u32 = 15;
/// A password that was right is right for so long without being checked again.
const REMEMBERED: Duration = Duration::from_secs(300);
/// So many passwords are checked at a time,
const CHECKING: usize = 2;
/// and so many wait for it: others are told to come later.
const WAITING: usize = 128;

/// A hash that is checked for users who do not exist, so that they take the same time.
const NOBODY: &str = "$2b$10$abcdefghijklmnopqrstuuvN8jUc0Z5eK0bT9f2eQb9o1y1m3aG2e";

/// Hashes by name.
type Users = HashMap<String, String>;

/// A file of users.
pub struct Htpasswd {
    path: PathBuf,
    realm: String,
    /// Whether reading needs no password.
    pub anonymous_pull: bool,
    users: Fresh<Users>,
    /// Hashes of name, password and bcrypt hash, with a key that nobody knows.
    verified: Mutex<HashMap<[u8; 32], Instant>>,
    key: [u8; 32],
    checking: Semaphore,
    waiting: Semaphore,
}

impl Htpasswd {
    /// Reads the file. It is read again when it changes.
    ///
    /// # Errors
    /// When it cannot be read, or a line is not of bcrypt.
    pub fn open(path: &Path, realm: &str, anonymous_pull: bool) -> Result<Htpasswd, ServeError> {
        let users = Fresh::open(&[path], || read(path))?;
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| ServeError::Random)?;
        Ok(Htpasswd {
            path: path.to_path_buf(),
            realm: realm.to_owned(),
            anonymous_pull,
            users,
            verified: Mutex::default(),
            key,
            checking: Semaphore::new(CHECKING),
            waiting: Semaphore::new(WAITING),
        })
    }

    /// What a client is told that has to say who it is.
    pub fn challenge(&self, text: &str) -> Refusal {
        let realm = self.realm.replace(['"', '\\'], "");
        Refusal::new(Code::Unauthorized, text).header(WWW_AUTHENTICATE, &format!("Basic realm=\"{realm}\""))
    }

    /// Whether the password is the user's.
    ///
    /// # Errors
    /// When too many ask at once.
    pub async fn verify(&self, user: &str, password: &str) -> Result<bool, Refusal> {
        // A file that has become unreadable changes nothing.
        let known = self.users.now(|_| read(&self.path)).value().get(user).cloned();
        let exists = known.is_some();
        let hash = known.unwrap_or_else(|| NOBODY.to_owned());
        let mut mac = blake3::Hasher::new_keyed(&self.key);
        for part in [user, password, &hash] {
            mac.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        let mac = *mac.finalize().as_bytes();
        if locked(&self.verified).get(&mac).is_some_and(|since| since.elapsed() < REMEMBERED) {
            return Ok(exists);
        }
        let later = || Refusal::new(Code::TooManyRequests, "too many passwords are being checked");
        let _place = self.waiting.try_acquire().map_err(|_| later())?;
        let _turn = self.checking.acquire().await.map_err(|_| later())?;
        let password = password.to_owned();
        let right = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash).unwrap_or(false)).await;
        let right = right.unwrap_or(false) && exists;
        if right {
            let mut verified = locked(&self.verified);
            verified.retain(|_, since| since.elapsed() < REMEMBERED);
            verified.insert(mac, Instant::now());
        }
        Ok(right)
    }
}

fn read(path: &Path) -> Result<Users, ServeError> {
    let failed = |source| ServeError::ReadFile { path: path.to_path_buf(), source };
    if fs::metadata(path).map_err(failed)?.len() > LONGEST {
        return Err(ServeError::Users { path: path.to_path_buf(), line: 0, why: "the file is too long".to_owned() });
    }
    parse(&fs::read_to_string(path).map_err(failed)?).map_err(|(line, why)| ServeError::Users {
        path: path.to_path_buf(),
        line,
        why,
    })
}

/// Reads `name:hash` lines; the number of the line that is wrong, and why.
pub(crate) fn parse(text: &str) -> Result<HashMap<String, String>, (usize, String)> {
    let mut users = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |why: &str| (number + 1, why.to_owned());
        let (user, hash) = line.split_once(':').ok_or_else(|| wrong("it is not NAME:HASH"))?;
        if user.is_empty() {
            return Err(wrong("the name is empty"));
        }
        let cost = ["$2y$", "$2a$", "$2b$"].iter().find_map(|p| hash.strip_prefix(p)).and_then(|r| r.split('$').next());
        match cost.and_then(|c| c.parse::<u32>().ok()) {
            Some(cost) if (4..=MAX_COST).contains(&cost) && hash.len() == 60 => {}
            Some(_) => return Err(wrong("its bcrypt hash is not usable")),
            None => {
                return Err(wrong("its password is not hashed by bcrypt: use `kiln registry passwd`, or htpasswd -B"));
            }
        }
        users.insert(user.to_owned(), hash.to_owned());
    }
    Ok(users)
}

/// The line of a user.
///
/// # Errors
/// When the name cannot be in such a file, or the password is too long for bcrypt.
pub fn line(user: &str, password: &str) -> Result<String, String> {
    if user.is_empty() || user.contains(|c: char| c == ':' || c.is_control()) || user.starts_with('#') {
        return Err("a user name must not be empty, hold `:`, or start with `#`".to_owned());
    }
    if password.len() > 72 {
        return Err("bcrypt takes passwords of up to 72 bytes".to_owned());
    }
    let parts = bcrypt::hash_with_result(password, 10).map_err(|e| e.to_string())?;
    Ok(format!("{user}:{}", parts.format_for_version(bcrypt::Version::TwoY)))
}

/// The text of such a file with a user added, changed, or (without a line) taken away; whether they were there.
pub fn with(text: &str, user: &str, line: Option<&str>) -> (String, bool) {
    let (mut out, mut there) = (String::new(), false);
    for old in text.lines() {
        if old.split_once(':').is_some_and(|(name, _)| name == user) {
            if let Some(line) = line.filter(|_| !there) {
                out += &format!("{line}\n");
            }
            there = true;
        } else {
            out += &format!("{old}\n");
        }
    }
    if let Some(line) = line.filter(|_| !there) {
        out += &format!("{line}\n");
    }
    (out, there)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bcrypt_is_taken() {
        let made = line("me", "secret").unwrap();
        assert!(made.starts_with("me:$2y$10$"), "{made}");
        assert_eq!(parse(&format!("# users\n\n{made}\n")).unwrap().len(), 1);
        for (text, at) in [
            ("me", 1),
            (":x", 1),
            ("\nme:{SHA}abc", 2),
            ("me:$apr1$x$y", 1),
            ("me:plain", 1),
            ("me:$2y$31$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 1),
            ("me:$2y$10$short", 1),
        ] {
            assert_eq!(parse(text).unwrap_err().0, at, "{text}");
        }
    }

    #[test]
    fn a_user_has_one_line() {
        let (text, there) = with("a:1\n# x\n", "b", Some("b:2"));
        assert_eq!((text.as_str(), there), ("a:1\n# x\nb:2\n", false));
        let (text, there) = with("a:1\nb:2\na:3\n", "a", Some("a:4"));
        assert_eq!((text.as_str(), there), ("a:4\nb:2\n", true));
        assert_eq!(with("a:1\nb:2\n", "a", None), ("b:2\n".to_owned(), true));
        assert!(line("a:b", "x").is_err() && line("", "x").is_err() && line("a", &"x".repeat(73)).is_err());
    }

    #[test]
    fn the_hash_of_nobody_is_one() {
        assert!(bcrypt::verify("x", NOBODY).is_ok_and(|right| !right));
    }
}
