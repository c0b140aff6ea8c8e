//! A provisioner's work as instructions of a Dockerfile, with the trees and secrets they name.
//!
//! A script is a `RUN` of `/dev/kiln/step`, with one directory mounted on `/dev/kiln`:
//!
//! ```text
//! input                              in key   because
//! script, command, variables         content  masked: where a sensitive value was, stands that one was
//! sensitive values                   no       they are mounted as secrets; a new password is no new step
//! path on the machine, exit codes    yes      the script may look at its own path
//! shims and wrapper                  content  what they do decides what the layer holds
//! the guard's table                  content  a step that it would have refused must not be found
//! resolv.conf of this machine        no       it serves the network while a script runs, and is in no layer
//! uploaded files                     content  as COPY has it: path, mode, bytes
//! the steps before                   yes      as for every RUN
//! ```

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use kiln_engine::context::{DirSource, Kind, MemorySource, Picked, Source, Stat};
use kiln_engine::session::Secret;
use kiln_oci::Meta;

use super::shims;
use crate::error::{NodeError, Result};
use crate::guard::Guard;
use crate::target::{Script, Upload};
use crate::ui::Masks;
use kiln_host::command::quote;

/// Instructions and what they name.
pub struct Step {
    /// What it is, for messages.
    pub title: String,
    /// One instruction.
    pub instruction: String,
    /// The context it names.
    pub context: (String, Arc<dyn Source>),
    /// Secrets it mounts.
    pub secrets: BTreeMap<String, Secret>,
}

/// Secret id of this machine's name servers.
pub const RESOLV_CONF: &str = "kiln-resolv-conf";

/// What a step of a script depends on besides the script.
pub struct Around<'a> {
    /// Sensitive values.
    pub masks: &'a Masks,
    /// Kernel parameters that are somebody else's.
    pub guard: &'a Guard,
    /// Whether packages of the image ask `policy-rc.d` before they start services.
    pub policy: bool,
    /// What makes its key another one, if it is to run whatever the cache has.
    pub salt: Option<&'a str>,
}

/// The step of a script. `number` tells it from the others.
pub fn script(number: usize, script: &Script, around: &Around<'_>) -> Step {
    let context = format!("kiln-step-{number}");
    let mut files = MemorySource::new()
        .file("step", 0o755, shims::STEP)
        .file("lib.sh", 0o644, shims::LIB)
        .file("policy-rc.d", 0o755, shims::POLICY)
        .file("values", 0o644, values(script))
        .file("notes", 0o666, "");
    for (name, text) in shims::SHIMS {
        files = files.file(format!("bin/{name}"), 0o755, text);
    }
    if !around.guard.is_empty() {
        files = files.file("guard", 0o644, around.guard.table());
    }
    if let Some(salt) = around.salt {
        files = files.file("salt", 0o644, salt);
    }
    let mut mounts = vec![format!("type=bind,from={context},target=/dev/kiln,rw")];
    if around.policy {
        mounts.push(format!("type=bind,from={context},source=/policy-rc.d,target=/usr/sbin/policy-rc.d"));
    }
    mounts.push(format!("type=secret,id={RESOLV_CONF},target=/dev/kiln-secrets/resolv.conf"));
    let mut secrets = BTreeMap::new();
    let parts = [
        ("script", Some(&script.content[..])),
        ("command", Some(script.command.as_bytes())),
        ("variables", script.variables.as_ref().map(|(_, content)| &content[..])),
    ];
    for (name, content) in parts {
        let Some(content) = content else { continue };
        files = files.file(name, 0o644, around.masks.apply_bytes(content));
        if around.masks.is_in(content) {
            let id = format!("{context}-{name}");
            mounts.push(format!("type=secret,id={id},target=/dev/kiln-secrets/{name},mode=0400,required=true"));
            secrets.insert(id, Secret::Value(content.into()));
        }
    }
    let mounts: String = mounts.iter().map(|m| format!("--mount={m} ")).collect();
    let instruction = format!("RUN {mounts}[\"/bin/sh\", \"/dev/kiln/step\"]\n");
    Step { title: script.title.clone(), instruction, context: (context, Arc::new(files)), secrets }
}

/// Values for the wrapper, as assignments of a shell.
fn values(script: &Script) -> String {
    let codes: Vec<String> = script.valid.iter().map(i32::to_string).collect();
    let variables = script.variables.as_ref().map_or("", |(path, _)| path);
    format!(
        "kiln_path={}\nkiln_variables={}\nkiln_remove={}\nkiln_valid={}\n",
        quote(&script.path),
        quote(variables),
        if script.remove { "1" } else { "''" },
        quote(&codes.join(" ")),
    )
}

/// The step of an upload.
///
/// # Errors
/// When what is uploaded is not there, or the destination is no absolute path.
pub fn upload(number: usize, what: &Upload, destination: &str) -> Result<Step> {
    let context = format!("kiln-step-{number}");
    if !destination.starts_with('/') {
        return Err(NodeError::Unsupported {
            what: format!("the destination `{destination}` is no absolute path"),
            hint: Some("offline there is no home directory to start from; write it whole".to_owned()),
        });
    }
    let (files, source, to): (Arc<dyn Source>, &str, String) = match what {
        Upload::Content(bytes) => {
            (Arc::new(MemorySource::new().file("f", 0o644, bytes)), "f", named(destination, None))
        }
        Upload::Path(path) => from_disk(path, destination)?,
    };
    // The form with brackets keeps blanks; `$` and `\` are the only letters with a meaning in it.
    let to = serde_json::to_string(&to.replace('\\', "\\\\").replace('$', "\\$")).unwrap_or_default();
    let instruction = format!("COPY --from={context} [\"{source}\", {to}]\n");
    let title = format!("upload to {destination}");
    Ok(Step { title, instruction, context: (context, files), secrets: BTreeMap::new() })
}

/// A name is given to what has none of its own.
fn named(destination: &str, name: Option<&str>) -> String {
    match name {
        Some(name) if destination.ends_with('/') => format!("{destination}{name}"),
        _ => destination.to_owned(),
    }
}

fn from_disk(path: &str, destination: &str) -> Result<(Arc<dyn Source>, &'static str, String)> {
    let at = Path::new(path);
    let meta = std::fs::metadata(at).map_err(NodeError::file("read", at))?;
    let real = at.canonicalize().map_err(NodeError::file("read", at))?;
    let name = at.file_name().and_then(|n| n.to_str());
    if meta.is_dir() {
        let tree = Arc::new(DirSource::open(&real, None)?);
        // With a slash at its end, what is in it; without, it itself.
        let to = match (path.ends_with('/'), name) {
            (false, Some(name)) => format!("{}/{name}/", destination.trim_end_matches('/')),
            _ => format!("{}/", destination.trim_end_matches('/')),
        };
        return Ok((tree, "/", to));
    }
    if !meta.is_file() {
        return Err(NodeError::Unsupported { what: format!("`{path}` is no file and no directory"), hint: None });
    }
    let (Some(parent), Some(file)) = (real.parent(), real.file_name()) else {
        return Err(NodeError::Unsupported { what: format!("`{path}` is no file and no directory"), hint: None });
    };
    use std::os::unix::ffi::OsStrExt;
    let one = OneFile { tree: DirSource::open(parent, None)?, name: file.as_bytes().to_vec() };
    Ok((Arc::new(one), "f", named(destination, name)))
}

/// One file of a directory, by a name without wildcards.
struct OneFile {
    tree: DirSource,
    name: Vec<u8>,
}

impl Source for OneFile {
    fn stat(&self, path: &[u8]) -> kiln_engine::Result<Option<Stat>> {
        match path {
            b"" => Ok(Some(Stat { meta: Meta::mode(0o755), kind: Kind::Dir, link: None })),
            b"f" => self.tree.stat(&self.name),
            _ => Ok(None),
        }
    }

    fn list(&self, dir: &[u8]) -> kiln_engine::Result<Vec<Vec<u8>>> {
        Ok(if dir.is_empty() { vec![b"f".to_vec()] } else { Vec::new() })
    }

    fn open(&self, _: &[u8], stat: &Stat) -> kiln_engine::Result<Box<dyn Read + Send>> {
        self.tree.open(&self.name, stat)
    }

    fn below(&self, dir: &[u8]) -> kiln_engine::Result<Vec<Picked>> {
        let stat = self.stat(b"f")?.filter(|_| dir.is_empty());
        Ok(stat.map(|stat| Picked { rel: b"f".to_vec(), stat }).into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn example(content: &str) -> Script {
        Script {
            title: "a.sh".to_owned(),
            content: content.as_bytes().to_vec(),
            path: "/tmp/it's.sh".to_owned(),
            command: "PW='hunter2' /tmp/it's.sh".to_owned(),
            variables: None,
            remove: true,
            valid: vec![0, 3],
            may_disconnect: false,
            start_timeout: Duration::ZERO,
        }
    }

    fn text(step: &Step, path: &str) -> String {
        let tree = &step.context.1;
        let stat = tree.stat(path.as_bytes()).unwrap().unwrap();
        let mut text = String::new();
        tree.open(path.as_bytes(), &stat).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn sensitive_values_are_secrets_and_nothing_else() {
        let masks = Masks::new(["hunter2"]);
        let around = Around { masks: &masks, guard: &Guard::none(), policy: false, salt: None };
        let step = script(3, &example("echo plain\n"), &around);
        assert_eq!(text(&step, "command"), "PW='<sensitive>' /tmp/it's.sh");
        assert_eq!(step.secrets.keys().collect::<Vec<_>>(), ["kiln-step-3-command"]);
        assert!(!step.instruction.contains("hunter2"));
        assert_eq!(
            text(&step, "values"),
            "kiln_path='/tmp/it'\\''s.sh'\nkiln_variables=''\nkiln_remove=1\nkiln_valid='0 3'\n"
        );
    }

    #[test]
    fn uploads_keep_the_meaning_of_slashes() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("a[1].txt"), "x").unwrap();
        let d = dir.path().join("d").display().to_string();
        let file = dir.path().join("a[1].txt").display().to_string();
        let line = |what: &str, to: &str| upload(1, &Upload::Path(what.to_owned()), to).unwrap().instruction;
        assert_eq!(line(&d, "/srv"), "COPY --from=kiln-step-1 [\"/\", \"/srv/d/\"]\n");
        assert_eq!(line(&format!("{d}/"), "/srv"), "COPY --from=kiln-step-1 [\"/\", \"/srv/\"]\n");
        assert_eq!(line(&file, "/srv/"), "COPY --from=kiln-step-1 [\"f\", \"/srv/a[1].txt\"]\n");
        assert_eq!(line(&file, "/srv/$x"), "COPY --from=kiln-step-1 [\"f\", \"/srv/\\\\$x\"]\n");
        assert!(upload(1, &Upload::Path(file), "relative").is_err());
    }
}
