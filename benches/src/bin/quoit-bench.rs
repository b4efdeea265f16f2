//! `quoit-bench`: measures a cluster of Quoit, one it starts itself or one that runs, and checks every value it reads.
//!
//! ```text
//! cargo run --release -p quoit-benches --bin quoit-bench -- --callers 1,16,64,256,1024
//! cargo run --release -p quoit-benches --bin quoit-bench -- --local 3 --op mix --rate 20000 --poisson
//! cargo run --release -p quoit-benches --bin quoit-bench -- --nodes a:7750,b:7750 --certs certs/client --op mix
//! ```

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use quoit_benches::{
    bench::Bench,
    exit,
    server::{self, ServeArgs},
};

/// The allocator of the `quoit` command.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const AFTER_HELP: &str = "\
Exit codes: 0 every answer was right; 1 a write was lost, a value damaged or a request failed; 2 usage; 3 no node reached;
4 refused for certificates; 130 interrupted.";

#[derive(Debug, Parser)]
#[command(
    about = "Measures Quoit, and checks every value it reads",
    after_help = AFTER_HELP,
    max_term_width = 110,
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    bench: Bench,
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
        None => cli.bench.run(),
    };
    done.unwrap_or_else(|error| exit::failed(&error))
}
