//! Where the files of the program lie in an initramfs.

/// All of them, below this.
pub const DIRECTORY: &str = "/.kiln";
/// The program, in a machine with one application; `rdinit=` names it, so that an image's own `/init` stays.
pub const PROGRAM: &str = "/.kiln/init";
/// The names of the modules that are loaded, a line each, in this order.
pub const MODULES: &str = "/.kiln/modules";
/// Their files.
pub const MODULE_FILES: &str = "/.kiln/module";
/// The application, as [`super::application`] writes it. That it is there makes a machine one of an application.
pub const APPLICATION: &str = "/.kiln/application";
/// It is not larger.
pub const MAX_APPLICATION: usize = 1 << 20;
/// What a line of the program in the kernel's log begins with.
pub const MARK: &str = "kiln-init:";
