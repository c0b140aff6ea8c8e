//! Questions a template asks, and what the command line said.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_spec::source::Source;

/// The answers to a template's questions. One real implementation is in the binary, fixed ones are in tests.
pub trait World: Sync {
    /// The variable `name` of the environment.
    fn env(&self, name: &str) -> Option<String>;

    /// Seconds since 1970-01-01 UTC: when the command started. Always the same answer.
    fn now(&self) -> i64;

    /// 128 random bits, from which the identifiers of `uuid` are made.
    fn random(&self) -> u128;

    /// The content of a file; `path` is relative to the working directory or absolute.
    ///
    /// # Errors
    /// A sentence that says why it cannot be read.
    fn read(&self, path: &str) -> Result<Vec<u8>, String>;

    /// The working directory, absolute.
    fn working_directory(&self) -> String;

    /// Whether `path` is a file.
    ///
    /// # Errors
    /// A sentence that says why it cannot be told.
    fn is_file(&self, path: &str) -> Result<bool, String> {
        Ok(self.read(path).is_ok())
    }

    /// What an address answers.
    ///
    /// # Errors
    /// A sentence that says why there is no answer, without what is secret in the request.
    fn fetch(&self, request: &Request) -> Result<Answer, String> {
        let _ = request;
        Err("there is no network here".to_owned())
    }

    /// Every file below the directory `path`, relative to it, at most `limit` of them.
    ///
    /// # Errors
    /// A sentence that says why it cannot be read.
    fn files(&self, path: &str, limit: usize) -> Result<Vec<String>, String> {
        Err(format!("`{path}` cannot be listed: at most {limit} files could be, and directories cannot be read here"))
    }
}

/// What a template asks of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The address, `http://` or `https://`.
    pub url: String,
    /// `GET`, or what else it is.
    pub method: String,
    /// Names and values of headers; they may be secret.
    pub headers: Vec<(String, String)>,
    /// What is sent; nothing when it is empty.
    pub body: String,
}

/// What an address answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Headers by name; several of a name are joined.
    pub headers: BTreeMap<String, String>,
    /// The text.
    pub body: String,
}

/// What the command line said about a template.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// `-var name=value`, in the order given.
    pub vars: Vec<(String, String)>,
    /// `-var-file`, in the order given, already read.
    pub var_files: Vec<Arc<Source>>,
    /// `-only`: globs on the names of builds, or names of post-processors.
    pub only: Vec<String>,
    /// `-except`: the same.
    pub except: Vec<String>,
    /// Variables without a value are left unknown, and whatever follows from them: for who looks and does not build.
    pub unknown: bool,
    /// The version `packer_version` and `packer.version` give, and which version constraints are checked against.
    pub packer_version: String,
}
