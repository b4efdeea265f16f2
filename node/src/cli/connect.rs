//! From the command line to a connected client.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use quoit_client::{Address, CertificateFiles, Client, ClientConfig, CredentialsError, Role};

use super::{
    args::GlobalArgs,
    context::{Context, Contexts},
    error::{CliError, Exit},
};
use crate::config::Origin;

/// Where a node is looked for unless told otherwise.
const NODE_DEFAULT: &str = "127.0.0.1:7750";
/// Where certificates are looked for unless told otherwise.
const CERTS_DEFAULT: &str = "certs";
/// A node that is down must not use up the time for all.
const DIAL_TIMEOUT_MAX: Duration = Duration::from_secs(3);

/// What a command needs its certificate for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Reading and writing keys, which administrators may as well.
    Keys,
    /// Operating the cluster.
    Administration,
}

impl Purpose {
    /// The identities in a folder of several, the one to take first.
    fn identities(self) -> [&'static str; 2] {
        match self {
            Self::Keys => ["client", "admin"],
            Self::Administration => ["admin", "client"],
        }
    }
}

/// A connected client, and what its certificate lets it do.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) client: Client,
    pub(crate) role: Role,
}

/// Connects as the command line, the environment, the context or the defaults say, in this order.
pub(crate) async fn connect(global: &GlobalArgs, purpose: Purpose) -> Result<Connected, CliError> {
    let context = context(global)?;
    let (nodes, certs) = choose(global, context);
    let files = CertificateFiles::in_folder(identity_folder(certs, purpose)?);
    let role = check_role(&files, purpose)?;
    let timeout = global.timeout();
    let config = ClientConfig::new(files, nodes.iter().map(Address::as_str))?
        .connect_timeout(timeout)
        .dial_timeout(timeout.min(DIAL_TIMEOUT_MAX))
        .request_timeout(timeout);
    Ok(Connected { client: Client::connect(config).await?, role })
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
fn identity_folder(certs: Option<PathBuf>, purpose: Purpose) -> Result<PathBuf, CliError> {
    let folder = certs.unwrap_or_else(|| CERTS_DEFAULT.into());
    let candidates = [folder.clone()].into_iter().chain(purpose.identities().map(|name| folder.join(name)));
    if let Some(found) = candidates.into_iter().find(|folder| folder.join("tls.crt").exists()) {
        return Ok(found);
    }
    let why = if folder.is_dir() {
        format!("neither {0} nor {0}/{1} holds a tls.crt", folder.display(), purpose.identities()[0])
    } else {
        format!("there is no folder {}", absolute(&folder).display())
    };
    Err(CliError::usage("no certificates to connect with")
        .why(why)
        .advice("make-certs, which makes them in ./certs; or name the folder with --certs"))
}

/// The certificate's role. A node's certificate is the likely mistake, and no node would say so as plainly.
fn check_role(files: &CertificateFiles, purpose: Purpose) -> Result<Role, CliError> {
    let found = files.load()?.identity().clone();
    match (found.role, purpose) {
        (Role::Admin, _) | (Role::Client, Purpose::Keys) => Ok(found.role),
        (Role::Node, Purpose::Keys) => {
            let (path, expected) = (files.certificate.clone(), Role::Client);
            Err(CredentialsError::Role { path, found: Box::new(found), expected }.into())
        }
        (Role::Client | Role::Node, Purpose::Administration) => {
            Err(CliError::new(Exit::Denied, "this takes the certificate of an administrator")
                .why(format!("{} is that of {found}", files.certificate.display()))
                .advice("--certs certs/admin; make-certs admin NAME makes one, where the authority is"))
        }
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests;
