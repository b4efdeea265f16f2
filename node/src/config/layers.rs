//! Defaults, file, environment and flags, each over the one before, and who said what in the end.

use std::{
    collections::BTreeMap,
    fmt, io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use clap::{ArgMatches, parser::ValueSource};
use tracing_subscriber::EnvFilter;

use super::{
    Config, InvalidConfig,
    file::ConfigFile,
    layer::{Layer, LogFormat},
    sample,
};

/// More threads than this cannot be meant.
const THREADS_MAX: usize = 1024;

/// Who set a setting, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// Nobody.
    Default,
    /// The configuration file.
    File,
    /// An environment variable.
    Environment,
    /// The command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "env",
            Self::Flag => "flag",
        })
    }
}

/// Which arguments came from the environment; all others were typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sources {
    from_environment: Vec<String>,
}

impl Sources {
    /// The sources of the arguments of the subcommand in `matches`.
    pub(crate) fn of(matches: &ArgMatches) -> Self {
        let mut leaf = matches;
        while let Some((_, below)) = leaf.subcommand() {
            leaf = below;
        }
        let from_environment = leaf
            .ids()
            .filter(|id| leaf.value_source(id.as_str()) == Some(ValueSource::EnvVariable))
            .map(ToString::to_string)
            .collect();
        Self { from_environment }
    }

    /// Where the argument `id`, which was given, came from.
    pub(crate) fn origin(&self, id: &str) -> Origin {
        if self.from_environment.iter().any(|known| known == id) { Origin::Environment } else { Origin::Flag }
    }
}

/// The settings that are in force.
#[derive(Debug)]
pub(crate) struct Effective {
    layer: Layer,
    values: BTreeMap<String, (toml::Value, Origin)>,
    file: Option<ConfigFile>,
}

impl Effective {
    /// Puts `given`, whose sources are `sources`, over `file`, and that over the defaults.
    ///
    /// # Errors
    /// [`LoadError::Invalid`] if a value is not allowed.
    pub(crate) fn new(given: &Layer, sources: &Sources, file: Option<ConfigFile>) -> Result<Self, LoadError> {
        let mut values = BTreeMap::new();
        let mut put = |layer: &Layer, origin: &dyn Fn(&str) -> Origin| {
            for (key, value) in table(layer)? {
                let origin = origin(&key);
                values.insert(key, (value, origin));
            }
            Ok::<_, InvalidConfig>(())
        };
        put(&Layer::defaults(), &|_| Origin::Default)?;
        if let Some(file) = &file {
            put(file.layer(), &|_| Origin::File)?;
        }
        put(given, &|key| sources.origin(key))?;
        let merged = values.iter().map(|(key, (value, _))| (key.clone(), value.clone()));
        let layer = toml::Table::from_iter(merged).try_into().expect("a layer reads back what it writes");
        let effective = Self { layer, values, file };
        effective.check().map_err(|invalid| effective.located(invalid))?;
        Ok(effective)
    }

    /// A node's configuration, which takes certificates as well.
    ///
    /// # Errors
    /// [`LoadError::NoCertificates`].
    pub(crate) fn config(&self) -> Result<Config, LoadError> {
        let certs = self.layer.certs.clone().ok_or(LoadError::NoCertificates)?;
        let settings = self.layer.clone().settings(certs);
        Config::try_from(settings).map_err(|invalid| self.located(invalid))
    }

    /// Every setting in the order of the documentation: key, value if it has one, who set it.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (String, Option<&toml::Value>, Origin)> {
        sample::keys().into_iter().map(|key| match self.values.get(&key) {
            Some((value, origin)) => (key, Some(value), *origin),
            None => (key, None, Origin::Default),
        })
    }

    /// The file that was read.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_ref().map(ConfigFile::path)
    }

    /// Threads for requests; `None` for [as many as suit](crate::Workers::default_count).
    pub(crate) fn threads(&self) -> Option<NonZeroUsize> {
        self.layer.threads
    }

    /// What is logged; `None` where nobody said.
    pub(crate) fn log(&self) -> Option<&str> {
        let (value, origin) = self.values.get("log")?;
        value.as_str().filter(|_| *origin != Origin::Default)
    }

    /// How it is logged.
    pub(crate) fn log_format(&self) -> LogFormat {
        self.layer.log_format.unwrap_or_default()
    }

    fn check(&self) -> Result<(), InvalidConfig> {
        if let Some(log) = self.log()
            && let Err(error) = EnvFilter::try_new(log)
        {
            return Err(InvalidConfig { key: "log", why: error.to_string() });
        }
        if self.threads().is_some_and(|threads| threads.get() > THREADS_MAX) {
            return Err(InvalidConfig { key: "threads", why: format!("at most {THREADS_MAX}") });
        }
        // Certificates may come later, by a flag.
        Config::try_from(self.layer.clone().settings(PathBuf::new())).map(drop)
    }

    fn located(&self, source: InvalidConfig) -> LoadError {
        let place = match self.values.get(source.key).map(|(_, origin)| origin) {
            Some(Origin::File) => self.file.as_ref().and_then(|file| file.locate(source.key)),
            Some(Origin::Environment) => Some(format!("QUOIT_{}", source.key.to_uppercase())),
            Some(Origin::Flag) => Some(format!("--{}", source.key.replace('_', "-"))),
            Some(Origin::Default) | None => None,
        };
        LoadError::Invalid { place, source }
    }
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The file is missing, or not readable by this user.
    #[error("cannot read {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// The file is not TOML, has an unknown key, or a value of the wrong kind. The source names line and column.
    #[error("{} cannot be used", path.display())]
    Syntax { path: PathBuf, source: Box<toml::de::Error> },
    /// A value is not allowed, or does not go with the others.
    #[error("{} cannot be used", place.as_deref().unwrap_or(source.key))]
    Invalid { place: Option<String>, source: InvalidConfig },
    /// Nobody says where the node's certificate is.
    #[error("a node needs a certificate, and no folder is set")]
    NoCertificates,
}

impl From<InvalidConfig> for LoadError {
    fn from(source: InvalidConfig) -> Self {
        Self::Invalid { place: None, source }
    }
}

/// What a layer gives, by key.
fn table(layer: &Layer) -> Result<toml::Table, InvalidConfig> {
    // Of all settings only paths can hold what TOML cannot.
    toml::Table::try_from(layer).map_err(|_| {
        let data_alone = layer.certs.as_ref().is_none_or(|certs| certs.to_str().is_some());
        InvalidConfig { key: if data_alone { "data" } else { "certs" }, why: "a path in UTF-8 is needed".into() }
    })
}

#[cfg(test)]
mod tests;
