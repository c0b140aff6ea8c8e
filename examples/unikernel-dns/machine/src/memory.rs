//! The heap, and memory that is shared with devices: addresses are the same for both.

use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use core::ops::Range;
use core::ptr::{self, NonNull};

use linked_list_allocator::LockedHeap;
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

#[global_allocator]
static ALLOCATOR: LockedHeap = LockedHeap::empty();

unsafe extern "C" {
    // In link.ld. Only their addresses mean something.
    static own_start: u8;
    static own_end: u8;
    static heap_start: u8;
    static heap_end: u8;
}

/// Gives the allocator its space; called once, before anything is allocated, and when there is known to be memory. What
/// needs more than there is ends the machine with an error.
pub(crate) fn init() {
    let (start, end) = ((&raw const heap_start).expose_provenance(), (&raw const heap_end).addr());
    // SAFETY: link.ld keeps it free, the loader says that it is memory, and nobody calls this again.
    unsafe { ALLOCATOR.lock().init(ptr::with_exposed_provenance_mut(start), end - start) };
}

/// Where this program writes: stacks, data, heap.
pub(crate) fn own() -> Range<u64> {
    (&raw const own_start).addr() as u64..(&raw const own_end).addr() as u64
}

/// How devices see memory.
pub(crate) struct Shared;

// SAFETY: addresses are the same for processor and devices, memory comes from the allocator with the alignment that is
// asked for, and registers are mapped one to one.
unsafe impl Hal for Shared {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let Some(layout) = layout(pages) else { return (0, NonNull::dangling()) };
        // SAFETY: the size is not zero.
        let memory = unsafe { alloc_zeroed(layout) };
        match NonNull::new(memory) {
            Some(memory) => (memory.addr().get() as PhysAddr, memory),
            // An address of zero is an error to the caller.
            None => (0, NonNull::dangling()),
        }
    }

    unsafe fn dma_dealloc(_: PhysAddr, memory: NonNull<u8>, pages: usize) -> i32 {
        if let Some(layout) = layout(pages) {
            // SAFETY: the caller got it from `dma_alloc`, with as many pages.
            unsafe { dealloc(memory.as_ptr(), layout) };
        }
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, size: usize) -> NonNull<u8> {
        let end = address.checked_add(size as u64);
        assert!(end.is_some_and(|end| end <= 1 << 32), "registers above 4 GiB are not mapped: give it less memory");
        NonNull::new(ptr::with_exposed_provenance_mut(address as usize)).expect("no registers are at zero")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().expose_provenance().get() as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

fn layout(pages: usize) -> Option<Layout> {
    Layout::from_size_align(pages.checked_mul(PAGE_SIZE)?, PAGE_SIZE).ok().filter(|layout| layout.size() != 0)
}
