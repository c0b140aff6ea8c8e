//! Pieces of a disk that were read last, kept in memory: blocks of metadata, which are asked for again and again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Result;

/// A piece in memory.
type Held = (u64, Arc<Vec<u8>>);

/// Pieces by where they are. Each has one slot that it may be in; who comes later takes it.
pub(crate) struct Cache(Mutex<Vec<Option<Held>>>);

impl Cache {
    /// Room for so many pieces, at least one.
    pub fn new(slots: usize) -> Cache {
        Cache(Mutex::new(vec![None; slots.max(1)]))
    }

    /// The piece at a place, which is the `number`th of its disk; `read` reads it if it is not held.
    ///
    /// # Errors
    /// Those of `read`, after which nothing is held.
    pub fn get(&self, place: u64, number: u64, read: impl FnOnce() -> Result<Vec<u8>>) -> Result<Arc<Vec<u8>>> {
        let slot = |held: &[Option<Held>]| (number % held.len() as u64) as usize;
        let held = {
            let slots = self.slots();
            slots[slot(&slots)].clone()
        };
        if let Some((_, bytes)) = held.filter(|(at, _)| *at == place) {
            return Ok(bytes);
        }
        // Nobody waits while it is read.
        let bytes = Arc::new(read()?);
        let mut slots = self.slots();
        let slot = slot(&slots);
        slots[slot] = Some((place, Arc::clone(&bytes)));
        Ok(bytes)
    }

    /// Forgets all pieces.
    pub fn clear(&self) {
        self.slots().fill(None);
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Option<Held>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::DiskError;

    #[test]
    fn what_is_held_is_not_read_again_until_another_takes_its_slot() {
        let cache = Cache::new(4);
        let reads = std::cell::Cell::new(0);
        let get = |place: u64| {
            let read = || {
                reads.set(reads.get() + 1);
                Ok(vec![place as u8])
            };
            cache.get(place, place, read).map(|bytes| bytes[0]).unwrap()
        };
        assert_eq!([get(1), get(1), get(2), get(5), get(1)], [1, 1, 2, 5, 1]);
        assert_eq!(reads.get(), 4);
        cache.clear();
        assert_eq!((get(2), reads.get()), (2, 5));
        let failing = || Err(DiskError::Stopped);
        assert!(cache.get(3, 3, failing).is_err());
        assert_eq!((get(3), reads.get()), (3, 6));
    }
}
