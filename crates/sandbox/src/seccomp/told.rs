//! The calls that are about owners: on the rung `userns1`, Kiln answers them.

/// Which call it is, whatever its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Stat,
    Lstat,
    Fstat,
    StatAt,
    Statx,
    Chown,
    Lchown,
    Fchown,
    ChownAt,
    Open,
    OpenAt,
    OpenAt2,
    Creat,
    Mkdir,
    MkdirAt,
    Mknod,
    MknodAt,
    Symlink,
    SymlinkAt,
    GetUid,
    GetEuid,
    GetGid,
    GetEgid,
    GetResUid,
    GetResGid,
    GetGroups,
    SetUid,
    SetGid,
    SetReUid,
    SetReGid,
    SetResUid,
    SetResGid,
    SetFsUid,
    SetFsGid,
    SetGroups,
}

/// When a call is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Always,
    /// When the flags in the argument of this number may create a file.
    Creates(u32),
}

/// `O_CREAT` and `O_TMPFILE`.
pub const CREATING: u32 = 0x40 | 0x40_0000;

/// Not on this architecture.
const NONE: u32 = u32::MAX;

/// Each call with its numbers on x86-64 and AArch64.
#[rustfmt::skip]
const CALLS: [(Told, [u32; 2], When); 35] = [
    (Told::Stat, [4, NONE], When::Always),
    (Told::Lstat, [6, NONE], When::Always),
    (Told::Fstat, [5, 80], When::Always),
    (Told::StatAt, [262, 79], When::Always),
    (Told::Statx, [332, 291], When::Always),
    (Told::Chown, [92, NONE], When::Always),
    (Told::Lchown, [94, NONE], When::Always),
    (Told::Fchown, [93, 55], When::Always),
    (Told::ChownAt, [260, 54], When::Always),
    (Told::Open, [2, NONE], When::Creates(1)),
    (Told::OpenAt, [257, 56], When::Creates(2)),
    (Told::OpenAt2, [437, 437], When::Always),
    (Told::Creat, [85, NONE], When::Always),
    (Told::Mkdir, [83, NONE], When::Always),
    (Told::MkdirAt, [258, 34], When::Always),
    (Told::Mknod, [133, NONE], When::Always),
    (Told::MknodAt, [259, 33], When::Always),
    (Told::Symlink, [88, NONE], When::Always),
    (Told::SymlinkAt, [266, 36], When::Always),
    (Told::GetUid, [102, 174], When::Always),
    (Told::GetEuid, [107, 175], When::Always),
    (Told::GetGid, [104, 176], When::Always),
    (Told::GetEgid, [108, 177], When::Always),
    (Told::GetResUid, [118, 148], When::Always),
    (Told::GetResGid, [120, 150], When::Always),
    (Told::GetGroups, [115, 158], When::Always),
    (Told::SetUid, [105, 146], When::Always),
    (Told::SetGid, [106, 144], When::Always),
    (Told::SetReUid, [113, 145], When::Always),
    (Told::SetReGid, [114, 143], When::Always),
    (Told::SetResUid, [117, 147], When::Always),
    (Told::SetResGid, [119, 149], When::Always),
    (Told::SetFsUid, [122, 151], When::Always),
    (Told::SetFsGid, [123, 152], When::Always),
    (Told::SetGroups, [116, 159], When::Always),
];

fn column(architecture: &str) -> Option<usize> {
    match architecture {
        "x86_64" => Some(0),
        "aarch64" => Some(1),
        _ => None,
    }
}

/// The numbers to hand over; `None` where they are not known.
pub fn numbers(architecture: &str) -> Option<Vec<(u32, When)>> {
    let column = column(architecture)?;
    Some(CALLS.iter().map(|(_, numbers, when)| (numbers[column], *when)).filter(|(call, _)| *call != NONE).collect())
}

/// Which call has this number here.
pub fn told(number: i32) -> Option<Told> {
    let (number, column) = (u32::try_from(number).ok()?, column(std::env::consts::ARCH)?);
    CALLS.iter().find(|(_, numbers, _)| numbers[column] == number).map(|(told, _, _)| *told)
}
