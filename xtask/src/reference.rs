//! Shell completions and man pages. The binary knows its commands, so the binary writes them.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::cargo;
use crate::error::Error;

/// Shells the binary writes completions for, and the names their files go by.
const SHELLS: [(&str, &str); 3] = [("bash", "kiln.bash"), ("zsh", "_kiln"), ("fish", "kiln.fish")];

/// Writes all of them into `to`.
pub(crate) fn write(to: &Path) -> Result<(), Error> {
    let kiln = cargo::build_kiln()?;
    let man = to.join("man1");
    fs::create_dir_all(&man).map_err(|cause| Error::Write { path: man.clone(), cause })?;
    for (shell, file) in SHELLS {
        let text = said(Command::new(&kiln).args(["completion", shell]))?;
        let path = to.join(file);
        fs::write(&path, text).map_err(|cause| Error::Write { path, cause })?;
    }
    said(Command::new(&kiln).arg("man").arg(&man))?;
    println!("{}", to.display());
    Ok(())
}

fn said(command: &mut Command) -> Result<Vec<u8>, Error> {
    let out = command.output().map_err(|cause| Error::Start { program: "kiln".to_owned(), cause })?;
    if out.status.success() {
        return Ok(out.stdout);
    }
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    Err(Error::Failed { command: format!("{command:?}"), status: out.status.to_string(), said })
}
