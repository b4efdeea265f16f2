//! Where a node keeps what must outlive it, unless told otherwise.

use std::{env, ffi::OsString, path::PathBuf};

use quoit_client::{CertificateFiles, Identity};

use super::error::CliError;
use crate::config::{Config, Settings};

/// `config` with a folder for the durable state: one of its own, or the default for the node in its certificate.
///
/// # Errors
/// The certificate cannot be read, or no variable says where a user's state belongs.
pub(super) fn with_data(config: Config) -> Result<Config, CliError> {
    let settings = config.settings();
    if settings.data.is_some() {
        return Ok(config);
    }
    let identity = identity(&settings.certs)?;
    let data = folder(&identity, &|name| env::var_os(name)).ok_or_else(|| {
        CliError::usage("no folder for the node's durable state")
            .why("--data is not given, and none of STATE_DIRECTORY, XDG_STATE_HOME and HOME is set")
            .advice("--data DIR, a folder for this node alone that outlives it")
    })?;
    Ok(Config::try_from(Settings { data: Some(data), ..settings.clone() })?)
}

fn identity(certs: &CertificateFiles) -> Result<Identity, CliError> {
    Ok(certs.load()?.identity().clone())
}

/// systemd's folder for the service, or else one for this node in the user's folder for state. Relative paths are to be
/// ignored by the standard of the latter.
fn folder(identity: &Identity, variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    // systemd joins the folders of a service that has several with colons.
    let of_service = variable("STATE_DIRECTORY").and_then(|all| env::split_paths(&all).find(|path| path.is_absolute()));
    of_service.or_else(|| {
        let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
        let (cluster, name) = (identity.cluster.as_str(), identity.name.as_str());
        Some(state.join("quoit").join(cluster).join(name))
    })
}

#[cfg(test)]
mod tests {
    use quoit_client::Role;

    use super::*;

    #[test]
    fn the_default_is_where_the_system_keeps_state() {
        let check = |variables: &[(&str, &str)], expected: Option<&str>| {
            let identity = Identity { role: Role::Node, name: "n1".parse().unwrap(), cluster: "prod".parse().unwrap() };
            let known = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
            assert_eq!(folder(&identity, &known), expected.map(PathBuf::from), "{variables:?}");
        };
        let (home, xdg) = (("HOME", "/home/ada"), ("XDG_STATE_HOME", "/state"));
        check(&[home], Some("/home/ada/.local/state/quoit/prod/n1"));
        check(&[home, xdg], Some("/state/quoit/prod/n1"));
        check(&[home, ("XDG_STATE_HOME", "state")], Some("/home/ada/.local/state/quoit/prod/n1"));
        check(&[home, xdg, ("STATE_DIRECTORY", "/var/lib/quoit")], Some("/var/lib/quoit"));
        check(&[("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")], Some("/var/lib/a"));
        check(&[("HOME", "ada")], None);
        check(&[], None);
    }
}
