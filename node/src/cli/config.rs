//! `quoit config`: check a configuration, show what is in force, write an annotated file.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueHint};
use serde_json::{Value, json};

use super::{args::GlobalArgs, error::CliError, output::Output};
use crate::config::{ConfigFile, Effective, Layer, Origin, sample};

/// What to do with a node's configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check a file as `quoit node` would read it; exit code 2 with line and column if it cannot be used
    Check {
        /// The file [default: QUOIT_CONFIG, or /etc/quoit/node.toml]
        #[arg(value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
    },
    /// Show the settings in force, and whether file, environment or flag set each
    Show(Box<SettingsArgs>),
    /// Write a file that explains every setting
    Sample,
}

/// A node's settings on the command line.
#[derive(Args, Debug)]
pub(crate) struct SettingsArgs {
    /// Configuration file [default: /etc/quoit/node.toml, if there is one]
    #[arg(long, env = CONFIG_VARIABLE, value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,

    #[command(flatten)]
    layer: Layer,
}

const CONFIG_VARIABLE: &str = "QUOIT_CONFIG";

impl SettingsArgs {
    /// The settings in force.
    ///
    /// # Errors
    /// The file cannot be read or used, or a value is not allowed.
    pub(super) fn effective(self, global: &GlobalArgs) -> Result<Effective, CliError> {
        let file = ConfigFile::find(self.config.as_deref())?;
        let given = Layer { certs: global.certs.clone(), ..self.layer };
        Ok(Effective::new(&given, &global.sources, file)?)
    }
}

/// Runs `quoit config`.
pub(crate) fn run(command: ConfigCommand, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    match command {
        ConfigCommand::Check { file } => check(file, global, output),
        ConfigCommand::Show(settings) => show(&settings.effective(global)?, output),
        ConfigCommand::Sample => Ok(output.bytes(sample().as_bytes())?),
    }
}

fn check(file: Option<PathBuf>, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    let path = file.or_else(|| std::env::var_os(CONFIG_VARIABLE).map(PathBuf::from));
    let Some(file) = ConfigFile::find(path.as_deref())? else {
        return Err(CliError::usage("there is no file to check").advice("quoit config check FILE"));
    };
    let effective = Effective::new(&Layer::default(), &global.sources, Some(file))?;
    let path = effective.file().unwrap_or(Path::new(""));
    output.note(format_args!("ok: {}", path.display()));
    Ok(())
}

fn show(effective: &Effective, output: &Output) -> Result<(), CliError> {
    let row = |(key, value, origin): (String, Option<&toml::Value>, Origin)| {
        vec![json!(key), json!(value), json!(origin.to_string())]
    };
    let rows: Vec<Vec<Value>> = effective.rows().map(row).collect();
    output.table(&["setting", "value", "origin"], &rows)?;
    if let Some(file) = effective.file() {
        output.note(format_args!("\nfile: {}", file.display()));
    }
    Ok(())
}
