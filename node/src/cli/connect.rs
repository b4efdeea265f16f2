//! From the command line to a connected client.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use quoit_client::{Address, CertificateFiles, Client, ClientConfig, CredentialsError, Role};

use super::{
    args::GlobalArgs,
    context::{Context, Contexts},
    error::CliError,
};
use crate::config::Origin;

/// Where a node is looked for unless told otherwise.
const NODE_DEFAULT: &str = "127.0.0.1:7750";
/// Where certificates are looked for unless told otherwise.
const CERTS_DEFAULT: &str = "certs";
/// The identities in a folder of several that the command line takes, the weaker first.
const IDENTITIES: [&str; 2] = ["client", "admin"];
/// A node that is down must not use up the time for all.
const DIAL_TIMEOUT_MAX: Duration = Duration::from_secs(3);

/// Connects as the command line, the environment, the context or the defaults say, in this order.
pub(crate) async fn connect(global: &GlobalArgs) -> Result<Client, CliError> {
    let context = context(global)?;
    let (nodes, certs) = choose(global, context);
    let files = CertificateFiles::in_folder(identity_folder(certs)?);
    check_role(&files)?;
    let config = ClientConfig::new(files, nodes.iter().map(Address::as_str))?
        .connect_timeout(global.timeout)
        .dial_timeout(global.timeout.min(DIAL_TIMEOUT_MAX))
        .request_timeout(global.timeout);
    Ok(Client::connect(config).await?)
}

/// The context that is asked for, or else the selected one; nothing if there is none.
fn context(global: &GlobalArgs) -> Result<Context, CliError> {
    if global.nodes.is_some() && global.certs.is_some() && global.context.is_none() {
        // A broken file of contexts is no hindrance to those who need none.
        return Ok(Context::default());
    }
    Contexts::load()?.get(global.context.as_deref())
}

/// Which nodes and certificates to use. A context named on the command line goes before the environment, as the command
/// line does; otherwise it comes last.
fn choose(global: &GlobalArgs, context: Context) -> (Vec<Address>, Option<PathBuf>) {
    let origin = |id| global.sources.origin(id);
    let context_first =
        |id| global.context.is_some() && origin("context") == Origin::Flag && origin(id) == Origin::Environment;
    let pick_nodes = if context_first("nodes") {
        context.nodes.or(global.nodes.clone())
    } else {
        global.nodes.clone().or(context.nodes)
    };
    let certs = if context_first("certs") {
        context.certs.or(global.certs.clone())
    } else {
        global.certs.clone().or(context.certs)
    };
    let default = || vec![NODE_DEFAULT.parse().expect("a constant address")];
    (pick_nodes.unwrap_or_else(default), certs)
}

/// The folder with `tls.crt`: `certs` itself, or `client` or `admin` in it. So one can name an identity, or the folder
/// that `make-certs` fills with all of them.
fn identity_folder(certs: Option<PathBuf>) -> Result<PathBuf, CliError> {
    let folder = certs.unwrap_or_else(|| CERTS_DEFAULT.into());
    let candidates = [folder.clone()].into_iter().chain(IDENTITIES.map(|name| folder.join(name)));
    if let Some(found) = candidates.into_iter().find(|folder| folder.join("tls.crt").exists()) {
        return Ok(found);
    }
    let why = if folder.is_dir() {
        format!("neither {0} nor {0}/client holds a tls.crt", folder.display())
    } else {
        format!("there is no folder {}", absolute(&folder).display())
    };
    Err(CliError::usage("no certificates to connect with")
        .why(why)
        .advice("make-certs, which makes them in ./certs; or name the folder with --certs"))
}

/// A node's certificate is the likely mistake, and no node would say so as plainly.
fn check_role(files: &CertificateFiles) -> Result<(), CredentialsError> {
    let found = files.load()?.identity().clone();
    match found.role {
        Role::Client | Role::Admin => Ok(()),
        Role::Node => {
            let (path, expected) = (files.certificate.clone(), Role::Client);
            Err(CredentialsError::Role { path, found: Box::new(found), expected })
        }
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests;
