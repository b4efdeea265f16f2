//! `quoit`: a node of the cache, and the tools around it.

use std::process::ExitCode;

use quoit_node::cli::{self, Cli};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    #[cfg(feature = "jemalloc")]
    quoit_node::allocator::return_pages_soon();
    cli::run(Cli::from_command_line())
}
