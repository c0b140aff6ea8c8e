//! Kiln's own provisioners of a template as one shell script, for a `RUN` of a Dockerfile.
//!
//! What a `RUN` cannot do is an error here, and not a script that does half of it: while it runs resolv.conf belongs to
//! the build, and what lies on the machine that builds has to be copied by the Dockerfile itself.

use kiln_packer::model::{Block, Build, BuildFacts};

use super::Own;
use crate::error::Result;
use crate::provision::{self, Provisioner};

/// What ends the text of a file.
const END: &str = "KILN-END";

/// What a script of this kind begins with.
const HEAD: &str = "#!/bin/sh
# Made by `kiln node script`. In a Dockerfile, with this text beside it as setup.sh:
#   RUN --mount=type=bind,source=setup.sh,target=/setup.sh sh /setup.sh
set -e
";

/// What the provisioners of a build do.
///
/// # Errors
/// When one is not Kiln's own, does what a `RUN` cannot, or has mistakes.
pub fn of(build: &Build) -> Result<String> {
    let mut text = HEAD.to_owned();
    for block in &build.provisioners {
        text += &format!("\n# {}\n(\nset -e\n{})\n", block.kind, one(block)?);
    }
    Ok(text)
}

fn one(block: &Block) -> Result<String> {
    let refused = |why: &str, hint: &str| {
        let message = format!("`{}` cannot be part of a Dockerfile's script: {why}", block.kind);
        block.place.error("NotInDockerfile", message).hint(hint.to_owned())
    };
    let own = match provision::parse(block, &BuildFacts::placeholders())? {
        Provisioner::Own(_) if block.kind == "kiln-dns" => {
            let over = "kiln node build -base docker-image://NAME does it on what the Dockerfile made";
            return Err(refused("resolv.conf belongs to the build while a RUN runs", over).into());
        }
        Provisioner::Own(own) => own,
        Provisioner::Headers(headers) => match headers.into_script() {
            Some(own) => own,
            None => {
                let hint = "leave btf out, and check the result: -o type=disk,verify=sysdig";
                return Err(refused("btf is looked at from outside", hint).into());
            }
        },
        Provisioner::Preload(_) => {
            let over = "kiln node build -base docker-image://NAME does it on what the Dockerfile made";
            return Err(refused("images go into containerd's database from outside", over).into());
        }
        Provisioner::Verify(_) => {
            return Err(refused("the result is checked from outside", "kiln build -o type=disk,verify=PROFILE").into());
        }
        _ => return Err(refused("it is not one of Kiln's own", "write it as a RUN or COPY").into()),
    };
    if !own.images.is_empty() {
        return Err(refused("it copies files of this machine", "COPY them, and install them by a RUN").into());
    }
    match files(&own) {
        Some(files) => Ok(files + &own.script),
        None => Err(refused("a file of it is no text", "give an armoured key").into()),
    }
}

/// Writes the files; `None` when one is no text that a shell could take.
fn files(own: &Own) -> Option<String> {
    let mut text = String::new();
    for (content, path) in &own.files {
        let content = std::str::from_utf8(content).ok()?;
        if content.contains('\0') || content.lines().any(|line| line == END) {
            return None;
        }
        let (dir, _) = path.rsplit_once('/')?;
        let (dir, path) = (kiln_host::command::quote(dir), kiln_host::command::quote(path));
        let end = if content.ends_with('\n') { "" } else { "\n" };
        text += &format!("mkdir -p {dir}\ncat >{path} <<'{END}'\n{content}{end}{END}\nchmod 644 {path}\n");
    }
    Some(text)
}
