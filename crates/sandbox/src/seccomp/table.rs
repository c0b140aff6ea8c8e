//! Numbers of the system calls the filter treats specially.
//!
//! A command has fourteen capabilities; what is refused here are the calls that would need others, and calls that reach
//! parts of the kernel no build needs and many holes were found in. All other calls up to [`NEWEST`] are allowed.

/// No such call on this architecture: above every real number.
pub const NONE: u32 = u32::MAX;

/// Numbers on x86-64, i386, AArch64 and 32-bit ARM.
pub type Row = (&'static str, [u32; 4]);

/// The newest call looked at (`open_tree_attr`, Linux 6.15). Newer ones do not exist for a command, so that it falls
/// back to older ones.
pub const NEWEST: u32 = 467;

/// Process creation, allowed without new namespaces.
pub const CLONE: Row = ("clone", [56, 120, 220, 120]);

/// Its arguments lie in memory, where a filter cannot look: it does not exist, and libraries fall back to `clone`.
pub const CLONE3: Row = ("clone3", [435, 435, 435, 435]);

/// Allowed for the personalities of ordinary programs.
pub const PERSONALITY: Row = ("personality", [135, 136, 92, 136]);

/// Allowed for all but a few families. (i386 can also go through `socketcall`, whose arguments lie in memory.)
pub const SOCKET: Row = ("socket", [41, 359, 198, 281]);

/// Refused with "operation not permitted".
#[rustfmt::skip]
pub const REFUSED: [Row; 72] = [
    ("acct", [163, 51, 89, 51]),
    ("add_key", [248, 286, 217, 309]),
    ("bdflush", [NONE, 134, NONE, 134]),
    ("bpf", [321, 357, 280, 386]),
    ("clock_settime", [227, 264, 112, 262]),
    ("clock_settime64", [NONE, 404, NONE, 404]),
    ("create_module", [174, 127, NONE, NONE]),
    ("delete_module", [176, 129, 106, 129]),
    ("fanotify_init", [300, 338, 262, 367]),
    ("finit_module", [313, 350, 273, 379]),
    ("fsconfig", [431, 431, 431, 431]),
    ("fsmount", [432, 432, 432, 432]),
    ("fsopen", [430, 430, 430, 430]),
    ("fspick", [433, 433, 433, 433]),
    ("get_kernel_syms", [177, 130, NONE, NONE]),
    ("get_mempolicy", [239, 275, 236, 320]),
    ("init_module", [175, 128, 105, 128]),
    ("io_uring_enter", [426, 426, 426, 426]),
    ("io_uring_register", [427, 427, 427, 427]),
    ("io_uring_setup", [425, 425, 425, 425]),
    ("ioperm", [173, 101, NONE, NONE]),
    ("iopl", [172, 110, NONE, NONE]),
    ("kcmp", [312, 349, 272, 378]),
    ("kexec_file_load", [320, NONE, 294, 401]),
    ("kexec_load", [246, 283, 104, 347]),
    ("keyctl", [250, 288, 219, 311]),
    ("lookup_dcookie", [212, 253, 18, 249]),
    ("lsm_get_self_attr", [459, 459, 459, 459]),
    ("lsm_list_modules", [461, 461, 461, 461]),
    ("lsm_set_self_attr", [460, 460, 460, 460]),
    ("mbind", [237, 274, 235, 319]),
    ("migrate_pages", [256, 294, 238, 400]),
    ("mount", [165, 21, 40, 21]),
    ("mount_setattr", [442, 442, 442, 442]),
    ("move_mount", [429, 429, 429, 429]),
    ("move_pages", [279, 317, 239, 344]),
    ("nfsservctl", [180, 169, 42, 169]),
    ("open_by_handle_at", [304, 342, 265, 371]),
    ("open_tree", [428, 428, 428, 428]),
    ("perf_event_open", [298, 336, 241, 364]),
    ("pidfd_getfd", [438, 438, 438, 438]),
    ("pivot_root", [155, 217, 41, 218]),
    ("process_madvise", [440, 440, 440, 440]),
    ("query_module", [178, 167, NONE, NONE]),
    ("quotactl", [179, 131, 60, 131]),
    ("quotactl_fd", [443, 443, 443, 443]),
    ("reboot", [169, 88, 142, 88]),
    ("request_key", [249, 287, 218, 310]),
    ("set_mempolicy", [238, 276, 237, 321]),
    ("set_mempolicy_home_node", [450, 450, 450, 450]),
    ("setdomainname", [171, 121, 162, 121]),
    ("sethostname", [170, 74, 161, 74]),
    ("setns", [308, 346, 268, 375]),
    ("settimeofday", [164, 79, 170, 79]),
    ("sgetmask", [NONE, 68, NONE, NONE]),
    ("ssetmask", [NONE, 69, NONE, NONE]),
    ("stime", [NONE, 25, NONE, NONE]),
    ("swapoff", [168, 115, 225, 115]),
    ("swapon", [167, 87, 224, 87]),
    ("_sysctl", [156, 149, NONE, 149]),
    ("sysfs", [139, 135, NONE, 135]),
    ("syslog", [103, 103, 116, 103]),
    ("umount", [NONE, 22, NONE, NONE]),
    ("umount2", [166, 52, 39, 52]),
    ("unshare", [272, 310, 97, 337]),
    ("uselib", [134, 86, NONE, 86]),
    ("userfaultfd", [323, 374, 282, 388]),
    ("ustat", [136, 62, NONE, 62]),
    ("vhangup", [153, 111, 58, 111]),
    ("vm86", [NONE, 166, NONE, NONE]),
    ("vm86old", [NONE, 113, NONE, NONE]),
    ("open_tree_attr", [467, 467, 467, 467]),
];
