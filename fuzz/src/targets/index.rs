//! The index of a layer, as it is kept in the store.

use kiln_oci::LayerIndex;
use kiln_oci::name::is_normal;

const MAGIC: &[u8] = b"KILNIDX\x01";
const SUM: usize = 16;

/// The bytes as they are, and with the right beginning before them.
pub fn run(bytes: &[u8]) {
    assert!(decode(bytes).is_none_or(|index| index == encoded(&index)));
    let sum = blake3::hash(bytes);
    if let Some(index) = decode(&[MAGIC, &sum.as_bytes()[..SUM], bytes].concat()) {
        assert_eq!(encoded(&index), index);
        assert!(index.entries.len() <= bytes.len(), "no entry is free");
        assert!(index.entries.iter().all(|e| is_normal(&e.entry.path)));
    }
}

fn decode(bytes: &[u8]) -> Option<LayerIndex> {
    LayerIndex::decode(bytes).ok()
}

fn encoded(index: &LayerIndex) -> LayerIndex {
    LayerIndex::decode(&index.encode()).expect("what is encoded can be decoded")
}
