//! The startup script: run by a script of Kiln's that tells how it ended, by guest attributes, or where those are
//! forbidden, by the instance's metadata.

use std::time::Duration;

use kiln_gce::operation::stopped;
use kiln_ledger::poll::Backoff;

use super::{GoogleCompute, Running, failed};
use crate::builder::Job;
use crate::error::{NodeError, Result};

/// The template's script, in the metadata.
pub const KEY: &str = "kiln-startup-script";
/// How it ended: `done` or `error`.
const STATUS: &str = "startup-script-status";
/// Where guest attributes of Kiln's are.
const NAMESPACE: &str = "kiln";
/// No script is waited for any longer.
const LIMIT: Duration = Duration::from_secs(3600);
/// Lines of the console in an error.
const LINES: usize = 12;

/// What runs the template's script.
pub const WRAPPER: &str = r#"#!/bin/sh
# Runs the startup script of a build, and tells the builder how it ended.
service=http://metadata.google.internal/computeMetadata/v1/instance
ask() { curl -sSf -H 'Metadata-Flavor: Google' "$service/$1"; }
tell() {
    echo "kiln: startup script: $1"
    curl -sSf -X PUT -H 'Metadata-Flavor: Google' --data "$1" "$service/guest-attributes/kiln/startup-script-status" && return
    gcloud compute instances add-metadata "$(ask name)" --zone "$(basename "$(ask zone)")" \
        --metadata "startup-script-status=$1"
}
script=$(mktemp) && ask attributes/kiln-startup-script >"$script" && chmod 700 "$script" || { tell error; exit 1; }
"$script"
code=$?
rm -f "$script"
if [ "$code" = 0 ]; then tell done; else echo "kiln: startup script: exit code $code"; tell error; fi
exit "$code"
"#;

impl GoogleCompute {
    /// Waits until the script has ended, if there is one.
    pub(super) fn wait_for_script(&self, running: &Running, job: &Job<'_>) -> Result<()> {
        let script = &self.config.machine.startup;
        if script.script.is_none() || !script.wrap {
            return Ok(());
        }
        job.ui.say("Waiting for any running startup script to finish...");
        let mut backoff = Backoff::new(LIMIT);
        let mut told = false;
        loop {
            match self.script_status(running, job)?.as_deref() {
                Some("done") => {
                    job.ui.message("Startup script successfully finished.");
                    job.ui.say("Startup script, if any, has finished running.");
                    return Ok(());
                }
                Some("error") => {
                    job.ui.message("Startup script in error. Exiting...");
                    let why = format!("Startup script exited with error.{}", self.last_lines(running));
                    return Err(NodeError::Machine {
                        action: "Error waiting for startup script to finish".to_owned(),
                        why,
                    });
                }
                _ if !told => {
                    job.ui.message("Startup script not finished yet. Waiting...");
                    told = true;
                }
                _ => {}
            }
            let waited = backoff.wait(&|| job.cancel.is_cancelled());
            let waited = waited.map_err(|stop| stopped(stop, "the startup script"));
            waited.map_err(failed("Error waiting for startup script to finish"))?;
        }
    }

    fn script_status(&self, running: &Running, job: &Job<'_>) -> Result<Option<String>> {
        let (project, zone) = (&self.config.account.project, &self.config.zone);
        let cancelled = || job.cancel.is_cancelled();
        let name = &running.names.instance;
        let told = running.client.attributes(project, zone, name, &format!("{NAMESPACE}/"), &cancelled);
        match told {
            Ok(all) => {
                let status = all.into_iter().find(|a| a.namespace == NAMESPACE && a.key == STATUS);
                if let Some(status) = status {
                    return Ok(Some(status.value));
                }
            }
            Err(error) if matches!(error.status(), Some(400..=499)) => {}
            Err(error) => return Err(failed("Error getting startup script status")(error)),
        }
        let instance = running.client.instance(project, zone, name, &cancelled);
        let instance = instance.map_err(failed("Error getting startup script status"))?;
        Ok(instance.and_then(|instance| instance.metadata(STATUS).map(str::to_owned)))
    }

    /// The end of the console, for an error.
    pub(super) fn last_lines(&self, running: &Running) -> String {
        let (project, zone) = (&self.config.account.project, &self.config.zone);
        let text = running.client.console(project, zone, &running.names.instance, &|| false).unwrap_or_default();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        if lines.is_empty() {
            return String::new();
        }
        let clean = |line: &&str| line.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
        let last: Vec<String> = lines.iter().rev().take(LINES).rev().map(clean).collect();
        format!("\n    | {}", last.join("\n    | "))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The wrapper with a metadata service of two shell scripts.
    fn run(script: &str, attributes: bool) -> (i32, String) {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            use std::os::unix::fs::PermissionsExt as _;
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        write("script", script);
        let refuse = if attributes { "" } else { "exit 22" };
        write(
            "curl",
            &format!(
                "#!/bin/sh\ncase \"$*\" in\n*' PUT '*) {refuse}\necho \"PUT $*\" >>\"$0.log\" ;;\n\
             *attributes/kiln-startup-script) cat \"$(dirname \"$0\")/script\" ;;\n*zone) echo projects/1/zones/z-a ;;\n*) echo i-1 ;;\nesac\n"
            ),
        );
        write("gcloud", "#!/bin/sh\necho \"gcloud $*\" >>\"$(dirname \"$0\")/curl.log\"\n");
        write("wrapper", WRAPPER);
        let path = format!("{}:/usr/bin:/bin", dir.path().display());
        let out = Command::new(dir.path().join("wrapper")).env("PATH", path).output().unwrap();
        let log = std::fs::read_to_string(dir.path().join("curl.log")).unwrap_or_default();
        (out.status.code().unwrap(), log)
    }

    #[test]
    fn the_end_of_a_script_is_told() {
        let (code, log) = run("#!/bin/sh\nexit 0\n", true);
        assert!(
            code == 0 && log.contains("--data done") && log.contains("guest-attributes/kiln/startup-script-status"),
            "{log}"
        );
        let (code, log) = run("#!/bin/sh\nexit 3\n", true);
        assert!(code == 3 && log.contains("--data error"), "{log}");
    }

    #[test]
    fn where_attributes_are_forbidden_it_is_told_by_metadata() {
        let (code, log) = run("#!/bin/sh\nexit 0\n", false);
        assert_eq!(code, 0);
        assert_eq!(log, "gcloud compute instances add-metadata i-1 --zone z-a --metadata startup-script-status=done\n");
    }
}
