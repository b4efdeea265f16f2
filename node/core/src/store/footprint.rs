//! What an entry costs the process, in bytes of resident memory.
//!
//! The model is jemalloc's: a request is rounded up to a size class, four to each doubling. The constants come from
//! measuring resident memory with the `store_memory` program of the benches; change one and run that again.

/// Bytes an entry costs beside its record: its slot in the slab, its share of the lookup table, which holds 9-byte buckets and
/// is between a quarter and half full once entries come and go (20 to 41, counted in full for moments at which two tables are
/// resident), of the slots kept idle, and of what eviction remembers (3).
pub(super) const ENTRY: usize = SLAB_SLOT + 41;

/// Bytes of a slot of clru's slab.
pub(super) const SLAB_SLOT: usize = 40;

/// Bytes a deadline costs: 16 in a B-tree node of 192 bytes that holds 6 to 11 of them, and the inner nodes.
pub(super) const DEADLINE: usize = 36;

/// Bytes of what makes a long value one that is shared: its `Bytes` and whether it was used, and the reference count that is
/// allocated when it first is.
pub(super) const SHARED: usize = 48 + 32;

const QUANTUM: usize = 16;
const QUANTUM_CLASSES_END: usize = 128;
const SLAB_CLASSES_END: usize = 14 * 1024;
const PAGE: usize = 4096;

/// Returns the bytes an allocation of `size` bytes occupies.
///
/// Above the slab classes only touched pages become resident, plus one because jemalloc starts large allocations at a
/// random offset in their first page. The untouched rest of the size class is resident only where earlier use left it so:
/// half of it is counted.
pub(super) fn allocation(size: usize) -> usize {
    if size <= QUANTUM_CLASSES_END {
        return size.next_multiple_of(QUANTUM);
    }
    // A power of two, so that rounding up takes no division: this is asked several times of each write.
    let step = size.next_power_of_two() / 8;
    let class = (size + step - 1) & !(step - 1);
    if size <= SLAB_CLASSES_END {
        return class;
    }
    let touched = size.next_multiple_of(PAGE);
    touched + PAGE + class.saturating_sub(touched) / 2
}

#[cfg(test)]
mod tests {
    use super::allocation;

    #[test]
    fn small_requests_take_their_size_class() {
        for (size, class) in [
            (0, 0),
            (1, 16),
            (16, 16),
            (17, 32),
            (128, 128),
            (129, 160),
            (160, 160),
            (161, 192),
            (256, 256),
            (257, 320),
            (1040, 1280),
            (8192, 8192),
            (8193, 10240),
            (14336, 14336),
        ] {
            assert_eq!(allocation(size), class, "{size}");
        }
    }

    #[test]
    fn large_requests_take_their_pages_and_half_the_rest_of_their_class() {
        assert_eq!(allocation(64 * 1024), 64 * 1024 + 4096);
        // Touches 17 pages of a class of 20.
        assert_eq!(allocation(64 * 1024 + 16), 18 * 4096 + 3 * 4096 / 2);
        assert_eq!(allocation(1024 * 1024 + 16), 258 * 4096 + 63 * 4096 / 2);
    }

    #[test]
    fn a_larger_request_never_costs_less() {
        // Whole classes from the slabs on; inside a large class the touched part only grows.
        let costs: Vec<usize> = (0..2_000_000).step_by(7).map(allocation).collect();
        assert!(costs.is_sorted());
    }
}
