//! What a program says, and ends with, when it could not do what it was asked for.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use quoit_client::{AddressError, ConnectError};

use crate::bench::Interrupted;

/// Tells what is wrong, and returns the code that the README promises for it.
pub fn failed(error: &anyhow::Error) -> ExitCode {
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
