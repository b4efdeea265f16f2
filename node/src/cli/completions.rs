//! `quoit completions` and `quoit man`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use clap_complete::Shell;

use super::{
    args::documented,
    error::{CliError, Exit},
    output::Output,
};

/// Arguments of `quoit completions`.
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Arguments of `quoit man`.
#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// Folder for this page and one for each command
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    dir: Option<PathBuf>,
}

/// Writes a completion script to standard output.
pub(crate) fn completions(args: &CompletionsArgs, output: &Output) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut documented(), "quoit", &mut script);
    Ok(output.bytes(&script)?)
}

/// Writes the manual page to standard output, or all pages into a folder.
pub(crate) fn man(args: &ManArgs, output: &Output) -> Result<(), CliError> {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(documented()).render(&mut page)?;
        return Ok(output.bytes(&page)?);
    };
    std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(documented(), dir)).map_err(|error| {
        CliError::new(Exit::Usage, format!("cannot write manual pages to {}", dir.display())).why(error.to_string())
    })?;
    output.note(format_args!("man {}/quoit.1", dir.display()));
    Ok(())
}
