//! UEFI firmware as distributions install it, and a machine's own copy of its variables.

use std::path::{Path, PathBuf};

use super::Firmware;
use crate::VmError;

/// Code and variables that belong together. Where a distribution has several, the one without Secure Boot comes first:
/// kernels of one's own are not signed.
const PLACES: &[(&str, &str, &str)] = &[
    ("x86_64", "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("x86_64", "/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("x86_64", "/usr/share/edk2/ovmf/OVMF_CODE_4M.fd", "/usr/share/edk2/ovmf/OVMF_VARS_4M.fd"),
    ("x86_64", "/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("x86_64", "/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    ("x86_64", "/usr/share/edk2-ovmf/x64/OVMF_CODE.fd", "/usr/share/edk2-ovmf/x64/OVMF_VARS.fd"),
    ("x86_64", "/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"),
    ("x86_64", "/usr/share/qemu/edk2-x86_64-code.fd", "/usr/share/qemu/edk2-i386-vars.fd"),
    ("aarch64", "/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
    ("aarch64", "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw", "/usr/share/edk2/aarch64/vars-template-pflash.raw"),
    ("aarch64", "/usr/share/qemu/edk2-aarch64-code.fd", "/usr/share/qemu/edk2-arm-vars.fd"),
];

/// Firmware is some MiB; more is something else.
const LARGEST: u64 = 256 << 20;

impl Firmware {
    /// The firmware that this machine's distribution has for an architecture, as qemu calls it ("x86_64", "aarch64").
    /// Its variables are the distribution's: [`Firmware::with_own_variables`] makes a copy that can be written.
    ///
    /// # Errors
    /// There is none.
    pub fn find(architecture: &str) -> Result<Firmware, VmError> {
        Firmware::find_below(Path::new("/"), architecture)
    }

    fn find_below(root: &Path, architecture: &str) -> Result<Firmware, VmError> {
        let here = |path: &str| root.join(path.trim_start_matches('/'));
        let fitting = || PLACES.iter().filter(|(arch, ..)| *arch == architecture);
        let found = fitting().map(|(_, code, vars)| (here(code), here(vars))).find(|(c, v)| c.is_file() && v.is_file());
        match found {
            Some((code, vars)) => Ok(Firmware { code, vars: Some(vars) }),
            None if fitting().next().is_none() => {
                let why = format!("no place of UEFI firmware for {architecture} is known: give efi_firmware_code");
                Err(VmError::option("efi_boot", why))
            }
            None => {
                let looked = fitting().map(|(_, code, _)| *code).collect::<Vec<_>>().join(", ");
                Err(VmError::NoFirmware { looked })
            }
        }
    }

    /// The same with a copy of the variables at `copy`, which the machine may change.
    ///
    /// # Errors
    /// They cannot be copied.
    pub fn with_own_variables(&self, copy: &Path) -> Result<Firmware, VmError> {
        let Some(vars) = &self.vars else {
            return Err(VmError::option("efi_firmware_vars", "it is needed beside efi_firmware_code"));
        };
        let size = std::fs::metadata(vars).map_err(VmError::file("read", vars))?.len();
        if size == 0 || size > LARGEST {
            let why = format!("{} has {size} bytes and cannot be a store of variables", vars.display());
            return Err(VmError::option("efi_firmware_vars", why));
        }
        // Not fs::copy: the original is often read-only, and so would be the copy.
        let bytes = std::fs::read(vars).map_err(VmError::file("read", vars))?;
        std::fs::write(copy, bytes).map_err(VmError::file("write", copy))?;
        Ok(Firmware { code: self.code.clone(), vars: Some(PathBuf::from(copy)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_variables_that_belong_together_are_found() {
        let root = tempfile::tempdir().unwrap();
        let error = Firmware::find_below(root.path(), "x86_64").unwrap_err().to_string();
        assert!(error.contains("OVMF_CODE_4M.fd") && error.contains("install the package `ovmf`"), "{error}");
        assert!(matches!(Firmware::find_below(root.path(), "vax"), Err(VmError::Option { .. })));
        let dir = root.path().join("usr/share/OVMF");
        std::fs::create_dir_all(&dir).unwrap();
        for name in ["OVMF_CODE_4M.fd", "OVMF_CODE.fd", "OVMF_VARS.fd"] {
            std::fs::write(dir.join(name), name).unwrap();
        }
        let found = Firmware::find_below(root.path(), "x86_64").unwrap();
        assert_eq!(found, Firmware { code: dir.join("OVMF_CODE.fd"), vars: Some(dir.join("OVMF_VARS.fd")) });
        let copy = root.path().join("efivars.fd");
        let own = found.with_own_variables(&copy).unwrap();
        assert_eq!(own.vars.as_deref(), Some(copy.as_path()));
        assert_eq!(std::fs::read(&copy).unwrap(), b"OVMF_VARS.fd");
        std::fs::write(dir.join("OVMF_VARS.fd"), "").unwrap();
        assert!(found.with_own_variables(&copy).is_err());
        assert!(Firmware { code: copy.clone(), vars: None }.with_own_variables(&copy).is_err());
    }
}
