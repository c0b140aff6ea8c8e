//! The kernel of a machine, and the modules it needs, from the image or from this machine.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use kiln_disk::boot::{self, Arch, DirTree, Tree};
use kiln_init::initramfs::APPLICATION;
use kiln_init::modules::{self, Module};

use super::super::disk::Looked;
use super::{KernelFrom, MicroVm, Modules};
use crate::rootfs::{Root, chain_text};

/// Kernels are not larger.
const MAX_KERNEL: u64 = 256 << 20;

/// What was found.
pub(super) struct Found {
    /// The kernel.
    pub(super) bytes: Vec<u8>,
    /// Its version, when it says it.
    pub(super) version: Option<String>,
    /// Its modules, in the order of loading.
    pub(super) modules: Vec<Module>,
    /// What need not be in the machine: the image's kernel, its initramfs and its modules.
    pub(super) left_out: Vec<Vec<u8>>,
}

/// What is wrong, and what to do.
type Refused = (String, Option<String>);

fn bare(why: String) -> Refused {
    (why, None)
}

/// Finds the kernel that `spec` names.
pub(super) fn find(spec: &MicroVm, root: &Root) -> Result<Found, Refused> {
    let looked = Looked(root);
    let (bytes, name, left_out) = match &spec.kernel {
        KernelFrom::Found => of_image(&looked, None)?,
        KernelFrom::Image(path) => of_image(&looked, Some(path))?,
        KernelFrom::File(path) => (of_file(path)?, path.display().to_string(), Vec::new()),
    };
    let version = kiln_init::kernel::version(&bytes).map_err(|e| bare(format!("`{name}` cannot be started: {e}")))?;
    let modules = modules(spec, &looked, version.as_deref())?;
    Ok(Found { bytes, version, modules, left_out })
}

/// A kernel, what it is called in messages, and the names that belong to it.
type OfImage = (Vec<u8>, String, Vec<Vec<u8>>);

/// A kernel of the image; the newest unless its path is said.
fn of_image(looked: &Looked<'_>, path: Option<&str>) -> Result<OfImage, Refused> {
    let facts = boot::gather(looked, Arch::X86_64).map_err(|e| bare(chain_text(&e)))?;
    let found = match path {
        Some(path) => facts.kernels.iter().find(|k| k.image == path),
        None => facts.kernels.first(),
    };
    let path = match (path, found) {
        (Some(path), _) => path.to_owned(),
        (None, Some(kernel)) => kernel.image.clone(),
        (None, None) => {
            let hint = "install one in it (Debian: linux-image-cloud-amd64), or name a file of this machine: \
                        kernel=/boot/vmlinuz-VERSION";
            return Err(("the image has no kernel in /boot".to_owned(), Some(hint.to_owned())));
        }
    };
    let bytes = looked.read(&path, MAX_KERNEL).map_err(|e| bare(format!("cannot read `{path}` of the image: {e}")))?;
    let Some(bytes) = bytes else {
        let have: Vec<&str> = facts.kernels.iter().map(|k| &*k.image).collect();
        let hint = (!have.is_empty()).then(|| format!("it has {}", have.join(", ")));
        return Err((format!("the image has no file `{path}`"), hint));
    };
    let parts = found.iter().flat_map(|k| [Some(&k.image), k.initrd.as_ref(), k.modules.as_ref()]).flatten();
    // A directory of modules may be there by two names, one of them a link.
    let names = parts.flat_map(|p| [p.as_str(), p.strip_prefix("/usr").unwrap_or(p)]);
    Ok((bytes, path, names.map(|p| p.trim_start_matches('/').as_bytes().to_vec()).collect()))
}

fn of_file(path: &Path) -> Result<Vec<u8>, Refused> {
    let failed = |e: io::Error| {
        let hint = "kernel= is a file of this machine; one of the image is kernel=image:/boot/vmlinuz-VERSION";
        (format!("cannot read the kernel {}: {e}", path.display()), Some(hint.to_owned()))
    };
    let file = File::open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("it is no file")));
    }
    let mut bytes = Vec::new();
    file.take(MAX_KERNEL + 1).read_to_end(&mut bytes).map_err(failed)?;
    match bytes.len() as u64 > MAX_KERNEL {
        true => Err(failed(io::Error::other(format!("it has more than {MAX_KERNEL} bytes")))),
        false => Ok(bytes),
    }
}

fn modules(spec: &MicroVm, looked: &Looked<'_>, version: Option<&str>) -> Result<Vec<Module>, Refused> {
    let of_tree = |tree: &dyn Tree, dir: &str| {
        let mut read = |path: &str, limit: u64| tree.read(path, limit);
        modules::collect(dir, &APPLICATION, &mut read).map_err(|e| bare(chain_text(&e)))
    };
    let of_directory = |dir: &Path| {
        let tree =
            DirTree::open(dir).map_err(|e| bare(format!("cannot open the modules in {}: {e}", dir.display())))?;
        of_tree(&tree, "").map_err(|(why, hint): Refused| (format!("{}: {why}", dir.display()), hint))
    };
    match &spec.modules {
        Modules::None => return Ok(Vec::new()),
        Modules::Directory(dir) => return of_directory(dir),
        Modules::Found => {}
    }
    let Some(version) = version else {
        let hint = "say modules=DIR, or modules=none when all drivers are built in";
        return Err((
            "the kernel does not say its version, so its modules cannot be found".to_owned(),
            Some(hint.to_owned()),
        ));
    };
    for dir in ["/usr/lib/modules", "/lib/modules"] {
        let dir = format!("{dir}/{version}");
        let list = format!("{dir}/modules.dep");
        if looked.has(&list).map_err(|e| bare(format!("cannot look for `{list}`: {e}")))? {
            return of_tree(looked, &dir);
        }
    }
    if let KernelFrom::File(kernel) = &spec.kernel {
        // Links such as /vmlinuz lead to where it is.
        let kernel = kernel.canonicalize().unwrap_or_else(|_| kernel.clone());
        let beside = kernel.parent().and_then(Path::parent).map(|top| top.join("lib/modules").join(version));
        if let Some(dir) = beside.filter(|dir| dir.join("modules.dep").is_file()) {
            return of_directory(&dir);
        }
    }
    let hint = "say where they are: modules=DIR; or modules=none when all drivers are built in";
    Err((format!("the modules of the kernel {version} are not there"), Some(hint.to_owned())))
}
