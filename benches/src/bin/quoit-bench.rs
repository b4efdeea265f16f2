//! `quoit-bench`: measures a cluster of Quoit, one it starts itself or one that runs, and checks every value it reads.
//!
//! ```text
//! cargo run --release -p quoit-benches --bin quoit-bench -- --callers 1,16,64,256,1024
//! cargo run --release -p quoit-benches --bin quoit-bench -- --local 3 --op mix --rate 20000 --poisson
//! cargo run --release -p quoit-benches --bin quoit-bench -- --nodes a:7750,b:7750 --certs certs/client --op mix
//! ```

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use quoit_benches::{
    bench::{Bench, Interrupted},
    server::{self, ServeArgs},
};
use quoit_client::{AddressError, ConnectError};

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
    done.unwrap_or_else(|error| failed(&error))
}

fn failed(error: &anyhow::Error) -> ExitCode {
    if error.is::<Interrupted>() {
        return ExitCode::from(130);
    }
    // Nothing is left to do about a standard error that cannot be written.
    let _ = writeln!(io::stderr(), "error  {error:#}");
    match error.downcast_ref::<ConnectError>() {
        Some(ConnectError::Credentials(_)) => ExitCode::from(4),
        Some(ConnectError::Unreachable { attempts }) => {
            for (seed, why) in attempts {
                let _ = writeln!(io::stderr(), "  why  {seed}: {why}");
            }
            let refused = attempts.iter().any(|(_, why)| why.is_about_identity());
            ExitCode::from(if refused { 4 } else { 3 })
        }
        Some(_) => ExitCode::from(3),
        None if error.is::<AddressError>() => ExitCode::from(2),
        None => ExitCode::FAILURE,
    }
}
