//! What functions ask the outside.

/// The answers. Nothing in this crate opens a file or reads a clock by itself.
pub trait World {
    /// Seconds since 1970-01-01 UTC. Always the same answer within one run, so that one template has one time.
    fn now(&self) -> i64;

    /// 128 random bits, others with each call.
    fn random(&self) -> u128;

    /// The content of the file `path`, relative to the working directory or absolute; not more than `limit` bytes.
    ///
    /// # Errors
    /// A sentence that says why it cannot be read.
    fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>, String>;

    /// Whether `path` is a file; false when nothing is there.
    ///
    /// # Errors
    /// A sentence: it is something else, or it cannot be told.
    fn is_file(&self, path: &str) -> Result<bool, String>;

    /// Every file below the directory `path`, relative to it, with `/` between names, at most `limit` of them.
    ///
    /// # Errors
    /// A sentence that says why it cannot be read.
    fn files(&self, path: &str, limit: usize) -> Result<Vec<String>, String>;

    /// The working directory, absolute.
    fn working_directory(&self) -> String;

    /// The user's home directory, if there is one.
    fn home(&self) -> Option<String>;

    /// The variable `name` of the environment, where an application lets its templates read it.
    fn env(&self, name: &str) -> Option<String>;
}

/// A world without files, in which it is always 1970: for texts that may ask nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nowhere;

impl World for Nowhere {
    fn now(&self) -> i64 {
        0
    }

    fn random(&self) -> u128 {
        0
    }

    fn read(&self, path: &str, _limit: usize) -> Result<Vec<u8>, String> {
        Err(format!("`{path}` cannot be read: files cannot be used here"))
    }

    fn is_file(&self, _path: &str) -> Result<bool, String> {
        Ok(false)
    }

    fn files(&self, path: &str, _limit: usize) -> Result<Vec<String>, String> {
        Err(format!("`{path}` cannot be read: files cannot be used here"))
    }

    fn working_directory(&self) -> String {
        "/".to_owned()
    }

    fn home(&self) -> Option<String> {
        None
    }

    fn env(&self, _name: &str) -> Option<String> {
        None
    }
}
