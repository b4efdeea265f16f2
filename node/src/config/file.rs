//! A configuration file: found, read, and asked where in it a setting stands.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use toml::Spanned;

use super::{layer::Layer, layers::LoadError};

/// Where a node looks for its file unless told otherwise.
pub(crate) const FILE_DEFAULT: &str = "/etc/quoit/node.toml";

/// A file that could be read: every key is known, every value is of its kind.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    text: String,
    layer: Layer,
}

impl ConfigFile {
    /// Reads the file at `path`, or the default one if there is one and `path` is `None`.
    ///
    /// # Errors
    /// [`LoadError::Unreadable`], also where `path` does not exist, and [`LoadError::Syntax`] with line and column.
    pub(crate) fn find(path: Option<&Path>) -> Result<Option<Self>, LoadError> {
        match Self::read(path.unwrap_or(Path::new(FILE_DEFAULT))) {
            Err(LoadError::Unreadable { source, .. }) if path.is_none() && source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            found => found.map(Some),
        }
    }

    fn read(path: &Path) -> Result<Self, LoadError> {
        let text =
            fs::read_to_string(path).map_err(|source| LoadError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(path, text)
    }

    /// Reads `text` as the content of the file at `path`.
    ///
    /// # Errors
    /// [`LoadError::Syntax`].
    pub(super) fn parse(path: &Path, text: String) -> Result<Self, LoadError> {
        let path = path.to_owned();
        match toml::from_str(&text) {
            Ok(layer) => Ok(Self { path, text, layer }),
            Err(source) => Err(LoadError::Syntax { path, source: Box::new(source) }),
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The settings in it.
    pub(super) fn layer(&self) -> &Layer {
        &self.layer
    }

    /// `FILE:LINE:COLUMN` of the value of `key`.
    pub(super) fn locate(&self, key: &str) -> Option<String> {
        let values: BTreeMap<String, Spanned<toml::Value>> = toml::from_str(&self.text).ok()?;
        let before = self.text.get(..values.get(key)?.span().start)?;
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        Some(format!("{}:{line}:{column}", self.path.display()))
    }
}
