//! `compare`: Quoit beside Redis, Valkey and memcached, as far as they are installed, on this machine in one run.
//!
//! ```text
//! cargo run --release -p quoit-benches --bin compare              # everything; writes benches/RESULTS.md
//! cargo run --release -p quoit-benches --bin compare -- --quick --only single,memory
//! ```

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use quoit_benches::{
    compare::Compare,
    exit,
    server::{self, ServeArgs},
};

/// The allocator of the `quoit` command.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const AFTER_HELP: &str = "\
Exit codes: 0 everything was measured, whether or not it is as fast as it is to be; 1 an answer was wrong, a request failed or a part
could not be measured; 2 usage; 130 interrupted.";

#[derive(Debug, Parser)]
#[command(
    about = "Measures Quoit beside other caches, and says whether it is as fast as it is to be",
    after_help = AFTER_HELP,
    max_term_width = 110,
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    compare: Compare,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What the program's own child processes do
    #[command(hide = true)]
    Serve(ServeArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Some(Command::Serve(args)) => server::serve(args).map(|()| ExitCode::SUCCESS),
        None => cli.compare.run(),
    };
    done.unwrap_or_else(|error| exit::failed(&error))
}
