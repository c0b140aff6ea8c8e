//! FAT, as UEFI and cloud-init read it: an EFI system partition is one, a seed for a first boot is one.
//!
//! [`write`] makes a file system of a list of files in one pass; [`Reader`] reads what is on one. Long names are
//! written beside short ones that are made from a number, so that the same files give the same bytes.

mod read;
mod write;

pub use read::{Entry, Reader};
pub use write::{File, Options, write};

const NAME: &str = "FAT file system";
const DIRECTORY: u8 = 0x10;
const LONG: u8 = 0x0f;
const VOLUME: u8 = 0x08;

/// How wide an entry of the table is. Readers tell it by the number of clusters alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// Fewer than 4085 clusters.
    Fat12,
    /// Up to 65524.
    Fat16,
    /// More.
    Fat32,
}

impl Width {
    fn of(clusters: u64) -> Width {
        match clusters {
            0..4085 => Width::Fat12,
            4085..65525 => Width::Fat16,
            _ => Width::Fat32,
        }
    }
}

/// The sum of a short name that its long names carry.
fn checksum(short: &[u8; 11]) -> u8 {
    short.iter().fold(0u8, |sum, b| sum.rotate_right(1).wrapping_add(*b))
}
