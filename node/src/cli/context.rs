//! `quoit context`: nodes and certificates under a name.

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use quoit_client::Address;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    args::GlobalArgs,
    error::{CliError, Exit},
    output::Output,
};

/// What to do with contexts.
#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// Save --nodes and --certs under a name
    Add {
        /// The name
        name: String,
    },
    /// List the saved ones
    Ls,
    /// Use one from now on
    Select {
        /// The name; without it, none
        name: Option<String>,
    },
    /// Remove one
    Rm {
        /// The name
        name: String,
    },
}

/// What a context holds, each optional.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    pub(crate) nodes: Option<Vec<Address>>,
    pub(crate) certs: Option<PathBuf>,
}

/// All of a user's contexts.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contexts {
    selected: Option<String>,
    #[serde(default)]
    contexts: BTreeMap<String, Context>,
}

/// Runs `quoit context`.
pub(crate) fn run(command: ContextCommand, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    let mut contexts = Contexts::load()?;
    match command {
        ContextCommand::Ls => return Ok(output.table(&["name", "selected", "nodes", "certs"], &contexts.rows())?),
        ContextCommand::Add { name } => {
            contexts.add(&name, global)?;
            output.note(format_args!("saved; `quoit context select {name}` makes it the default"));
        }
        ContextCommand::Select { name } => {
            if let Some(name) = &name {
                contexts.find(name)?;
            }
            contexts.selected = name;
        }
        ContextCommand::Rm { name } => contexts.remove(&name)?,
    }
    contexts.save()
}

impl Contexts {
    /// Reads the user's file; there are none if it does not exist.
    ///
    /// # Errors
    /// The file cannot be read, or is not what this program wrote.
    pub(crate) fn load() -> Result<Self, CliError> {
        let Some(path) = path() else { return Ok(Self::default()) };
        let broken = |why: String| CliError::usage(format!("cannot use {}", path.display())).why(why);
        match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|error| broken(error.to_string().trim_end().into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(broken(error.to_string())),
        }
    }

    /// The context called `name`, or else the selected one, or else an empty one.
    ///
    /// # Errors
    /// There is none of this name.
    pub(crate) fn get(mut self, name: Option<&str>) -> Result<Context, CliError> {
        let Some(name) = name.map(str::to_owned).or(self.selected.take()) else { return Ok(Context::default()) };
        self.find(&name).cloned()
    }

    fn find(&self, name: &str) -> Result<&Context, CliError> {
        self.contexts
            .get(name)
            .ok_or_else(|| CliError::usage(format!("there is no context called {name}")).advice("quoit context ls"))
    }

    fn add(&mut self, name: &str, global: &GlobalArgs) -> Result<(), CliError> {
        if name.is_empty() || name.contains(char::is_control) {
            return Err(CliError::usage("a context needs a name"));
        }
        if global.nodes.is_none() && global.certs.is_none() {
            return Err(CliError::usage("a context needs nodes, certificates or both")
                .advice(format!("quoit context add {name} --nodes HOST:PORT --certs DIR")));
        }
        if self.contexts.contains_key(name) {
            return Err(CliError::usage(format!("there is a context called {name} already"))
                .advice(format!("quoit context rm {name}")));
        }
        // It is used from any folder.
        let certs = global.certs.as_deref().map(std::path::absolute).transpose()?;
        self.contexts.insert(name.into(), Context { nodes: global.nodes.clone(), certs });
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), CliError> {
        self.find(name)?;
        self.contexts.remove(name);
        if self.selected.as_deref() == Some(name) {
            self.selected = None;
        }
        Ok(())
    }

    fn rows(&self) -> Vec<Vec<Value>> {
        let row = |(name, context): (&String, &Context)| {
            let selected = self.selected.as_ref() == Some(name);
            vec![json!(name), json!(selected), json!(context.nodes), json!(context.certs)]
        };
        self.contexts.iter().map(row).collect()
    }

    /// Replaces the user's file as a whole, readable by them alone.
    fn save(&self) -> Result<(), CliError> {
        let path = path().ok_or_else(|| {
            CliError::usage("no folder for configuration").why("neither XDG_CONFIG_HOME nor HOME is set")
        })?;
        let text = toml::to_string(self).map_err(|error| CliError::usage("cannot be saved").why(error.to_string()))?;
        write(&path, &text).map_err(|error| {
            CliError::new(Exit::Usage, format!("cannot write {}", path.display())).why(error.to_string())
        })
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    // Temporary files are made readable by their owner alone, and stay so.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

/// `quoit/contexts.toml` in the user's folder for configuration. Relative XDG paths are to be ignored by its standard.
fn path() -> Option<PathBuf> {
    let absolute = |variable| env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    Some(folder.join("quoit").join("contexts.toml"))
}

#[cfg(test)]
mod tests;
