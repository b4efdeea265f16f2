//! `quoit`: a node of the cache, and the tools around it.

use std::process::ExitCode;

use quoit_node::cli::{self, Cli};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    #[cfg(feature = "jemalloc")]
    return_pages_soon();
    cli::run(Cli::from_command_line())
}

/// Gives free pages back to the system within a quarter of a second, not ten, so that resident memory stays near the store's
/// limit while sizes change. The allocator's background threads do it, which its features switch on.
#[cfg(feature = "jemalloc")]
fn return_pages_soon() {
    use tikv_jemalloc_ctl::{Access, AsName};
    const DECAY_MS: isize = 250;
    // For arenas that threads will get, and for the one that this thread has. Where it fails, ten seconds do as well.
    for name in ["arenas.dirty_decay_ms\0", "arena.0.dirty_decay_ms\0"] {
        let _ = name.name().write(DECAY_MS);
    }
}
