//! jemalloc as a node needs it, where the process has it for its allocator: `main.rs` chooses it.
//!
//! How large its slabs are is said where it is built, in `.cargo/config.toml`.

use tikv_jemalloc_ctl::{Access, AsName};

/// How long free pages stay with the process, in milliseconds.
const DECAY_MS: isize = 250;

/// Gives free pages back to the system within a quarter of a second, not ten, so that resident memory stays near the store's
/// limit while sizes change. For whoever runs nodes, as the first thing that the process does: the allocator's background
/// threads do it, which its features switch on.
pub fn return_pages_soon() {
    // For arenas that threads will get, and for the one that this thread has. Where it fails, ten seconds do as well.
    for name in ["arenas.dirty_decay_ms\0", "arena.0.dirty_decay_ms\0"] {
        let _ = name.name().write(DECAY_MS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_entries_are_in_slabs_of_eight_pages() {
        let of_bin =
            |bin: u32, what| -> usize { format!("arenas.bin.{bin}.{what}\0").as_bytes().name().read().unwrap() };
        let page: usize = "arenas.page\0".name().read().unwrap();
        let bins: u32 = "arenas.nbins\0".name().read().unwrap();
        for size in [64, 128, 256, 512, 1024] {
            let bin = (0..bins).find(|bin| of_bin(*bin, "size") == size).unwrap();
            assert_eq!(of_bin(bin, "slab_size"), 8 * page, "{size}: built by .cargo/config.toml?");
        }
    }
}
