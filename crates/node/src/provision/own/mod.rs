//! Kiln's own provisioners: what nodes of clusters need, said in a few keys.
//!
//! | type | does |
//! |---|---|
//! | `kiln-timezone` | sets the time zone |
//! | `kiln-swap` | turns swap off for good |
//! | `kiln-sysctl` | sets kernel parameters, but none that somebody else owns |
//! | `kiln-dns` | writes and locks `resolv.conf`; name servers a cloud requires must be among its own |
//! | `kiln-repository` | adds a repository of packages, apt or yum |
//! | `kiln-preload` | puts container images on the node |
//! | `kiln-kernel` | installs a kernel, checks its version, makes it the one that boots |
//! | `kiln-headers` | brings headers of exactly that kernel, and proves that modules can be built with them |
//!
//! Each becomes files and one script, the same on a machine and offline; [`script`] is all of them for a Dockerfile.
//!
//! Adding one: a module that makes an [`Own`], and a row in the table of provisioners.

mod dns;
mod headers;
mod kernel;
mod preload;
mod repository;
pub mod script;
mod swap;
mod sysctl;
mod timezone;

pub use dns::dns;
pub use headers::{Headers, headers};
pub use kernel::kernel;
pub use preload::{Preload, preload};
pub use repository::repository;
pub use swap::swap;
pub use sysctl::sysctl;
pub use timezone::timezone;

use std::time::Duration;

use super::Stage;
use crate::error::{NodeError, Result};
use crate::target::{Script, Upload};

/// What a provisioner of Kiln's does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// What it says.
    pub title: String,
    /// Files it writes: content and path.
    pub files: Vec<(Vec<u8>, String)>,
    /// Container images it puts there: name or archive, and path.
    pub images: Vec<(Image, String)>,
    /// What it runs, after the files are there.
    pub script: String,
}

/// Where a container image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// In the store or its registry.
    Name(String),
    /// In an archive here.
    Archive(String),
}

impl Own {
    fn new(title: impl Into<String>, script: impl Into<String>) -> Own {
        Own { title: title.into(), files: Vec::new(), images: Vec::new(), script: script.into() }
    }

    /// Does it.
    ///
    /// # Errors
    /// When a file cannot be written, or the script fails.
    pub fn run(&self, stage: &mut Stage<'_>) -> Result<()> {
        stage.ui.say(&self.title);
        for (content, path) in &self.files {
            stage.target.upload(&Upload::Content(content.clone()), path)?;
        }
        for (image, path) in &self.images {
            match image {
                Image::Archive(archive) => stage.target.upload(&Upload::Path(archive.clone()), path)?,
                Image::Name(name) => {
                    stage.ui.message(&format!("fetching {name}"));
                    let dir = tempfile::tempdir().map_err(NodeError::file("make", std::env::temp_dir()))?;
                    let archive = dir.path().join("image.tar");
                    stage.images.archive(name, &archive, stage.cancel)?;
                    stage.target.upload(&Upload::Path(archive.display().to_string()), path)?;
                    stage.target.keep(dir);
                }
            }
        }
        if self.script.is_empty() {
            return Ok(());
        }
        let path = format!("/tmp/kiln_{}.sh", stage.position);
        stage.target.run(&Script {
            title: self.title.clone(),
            content: format!("#!/bin/sh\nset -e\n{}", self.script).into_bytes(),
            command: format!("/bin/sh {path}"),
            path,
            variables: None,
            remove: true,
            valid: vec![0],
            may_disconnect: false,
            start_timeout: Duration::from_secs(60),
        })
    }
}
