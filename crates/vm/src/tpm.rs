//! A TPM of the machine's own, by swtpm.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::VmError;
use crate::guard::Guarded;
use crate::machine::Tpm;
use crate::qemu::find;

const PATIENCE: Duration = Duration::from_secs(20);

/// A running swtpm; it ends with this value.
#[derive(Debug)]
pub struct SoftTpm {
    child: Guarded,
    socket: PathBuf,
    /// The socket's directory, for paths of sockets are short.
    _dir: tempfile::TempDir,
}

impl SoftTpm {
    /// Starts one whose state is in `state`, a directory that is made if it is not there. Its socket is below
    /// `temporary`. `old` makes it a TPM 1.2.
    ///
    /// # Errors
    /// swtpm is not installed, or ends at once.
    pub fn start(
        path: Option<&std::ffi::OsStr>,
        state: &Path,
        temporary: &Path,
        old: bool,
    ) -> Result<SoftTpm, VmError> {
        let program = find("swtpm", path).ok_or_else(|| VmError::Missing {
            program: "swtpm".to_owned(),
            hint: "install the package `swtpm`, or leave `vtpm` out".to_owned(),
        })?;
        if state.to_string_lossy().contains(',') {
            return Err(VmError::option("output_directory", "swtpm takes no comma in it"));
        }
        std::fs::create_dir_all(state).map_err(VmError::file("create", state))?;
        let dir = crate::process::private_dir(temporary)?;
        let socket = dir.path().join("tpm");
        let mut args = vec!["socket".to_owned(), "--tpmstate".to_owned(), format!("dir={}", state.display())];
        args.extend(["--ctrl".to_owned(), format!("type=unixio,path={}", socket.display()), "--terminate".to_owned()]);
        args.extend((!old).then(|| "--tpm2".to_owned()));
        let child = Guarded::spawn(&program, &args)?;
        let until = Instant::now() + PATIENCE;
        while !socket.exists() {
            let ended = child.wait(Duration::from_millis(20));
            if ended.is_some() || Instant::now() > until {
                let status = ended.map_or("it does not listen".to_owned(), |e| e.to_string());
                return Err(VmError::Failed { program: program.display().to_string(), status, said: child.said() });
            }
        }
        Ok(SoftTpm { child, socket, _dir: dir })
    }

    /// What the machine is told: the device is "tpm-tis", "tpm-crb", "tpm-tis-device" (aarch64) or "tpm-spapr".
    pub fn device(&self, device: &str) -> Tpm {
        Tpm { socket: self.socket.clone(), device: device.to_owned() }
    }

    /// Whether it still runs; it ends when its machine does.
    pub fn runs(&self) -> bool {
        self.child.ended().is_none()
    }
}
