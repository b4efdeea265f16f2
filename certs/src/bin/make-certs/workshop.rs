//! The verbs that issue: what they make, what they say about it, and what to type next.

use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

use quoit_certs::{
    AUTHORITY_FOLDER, Authority, CertsDir, Days, DirError, Host, Identity, Initialised, Label, Outcome, Overwrite,
    Placed, Role, command, list, make_certs,
};

use crate::args::Terms;
use crate::print::{self, FAINT, GOOD, Row};

/// Port of the first local node, and the distance to the next one's.
const FIRST_PORT: usize = 7750;
const PORT_STEP: usize = 10;

/// An open folder of certificates, and the terms on which to issue into it.
pub(crate) struct Workshop {
    dir: CertsDir,
    terms: Terms,
    now: SystemTime,
}

impl Workshop {
    /// Opens a folder, which the verbs that need no authority make if it is not there.
    pub(crate) fn create(root: &Path, terms: Terms, now: SystemTime) -> Result<Self, DirError> {
        CertsDir::create(root).map(|dir| Self { dir, terms, now })
    }

    /// Opens a folder that is there.
    pub(crate) fn open(root: &Path, terms: Terms, now: SystemTime) -> Result<Self, DirError> {
        CertsDir::open(root).map(|dir| Self { dir, terms, now })
    }

    /// Makes the authority only.
    pub(crate) fn init(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let Terms { cluster, days, .. } = &self.terms;
        let initialised = self.dir.init(cluster.as_ref(), *days, self.now, self.overwrite())?;
        print::rows(out, &[self.authority_row(&initialised)])?;
        let identities_left_behind = initialised.outcome == Outcome::Replaced && list(self.dir.root())?.len() > 1;
        let words: &[_] = if identities_left_behind { &["renew"] } else { &["node", "n1"] };
        next(out, &make_certs(self.dir.root(), words))
    }

    /// Issues one identity from the authority there is.
    pub(crate) fn one(&self, role: Role, name: Label, hosts: &[Host], out: &mut impl Write) -> anyhow::Result<()> {
        let authority = self.dir.authority(self.terms.cluster.as_ref())?;
        let identity = Identity::new(role, name, authority.cluster().clone());
        let placed = self.issue(&authority, &identity, hosts)?;
        print::rows(out, &[row(&placed, hosts, self.now)])?;
        let folder = placed.folder.to_string_lossy();
        let seed = format!("127.0.0.1:{FIRST_PORT}");
        match role {
            Role::Node => next(out, &command(&["quoit", "node", "--certs", &folder, "--seeds", &seed])),
            Role::Client => next(out, &command(&["quoit", "get", "greeting", "--certs", &folder])),
            Role::Admin => Ok(()),
        }
    }

    /// Issues nodes, a client and an admin, from a new authority if there is none.
    pub(crate) fn set(&self, nodes: Vec<Label>, hosts: &[Host], out: &mut impl Write) -> anyhow::Result<()> {
        let nodes = if nodes.is_empty() { labels(["n1", "n2", "n3"]).to_vec() } else { nodes };
        let initialised = self.dir.init(self.terms.cluster.as_ref(), None, self.now, Overwrite::Keep)?;
        let mut rows = vec![self.authority_row(&initialised)];
        let issued = self.issue_set(&initialised.authority, &nodes, hosts, &mut rows);
        // What was done is said even if the rest could not be done.
        print::rows(out, &rows)?;
        issued?;

        let first = self.dir.root().join(nodes[0].as_str());
        let ports = (FIRST_PORT..).step_by(PORT_STEP).take(nodes.len());
        let seeds: Vec<_> = ports.map(|port| format!("127.0.0.1:{port}")).collect();
        let (first, seeds) = (first.to_string_lossy(), seeds.join(","));
        next(out, &command(&["quoit", "node", "--certs", &first, "--seeds", &seeds]))
    }

    fn issue_set(
        &self,
        authority: &Authority,
        nodes: &[Label],
        hosts: &[Host],
        rows: &mut Vec<Row>,
    ) -> Result<(), DirError> {
        let identity = |role, name| Identity::new(role, name, authority.cluster().clone());
        for name in nodes {
            let placed = self.issue(authority, &identity(Role::Node, name.clone()), hosts)?;
            rows.push(row(&placed, hosts, self.now));
        }
        for role in [Role::Client, Role::Admin] {
            let [name] = labels([role.as_str()]);
            rows.push(row(&self.issue(authority, &identity(role, name), &[])?, &[], self.now));
        }
        Ok(())
    }

    fn issue(&self, authority: &Authority, identity: &Identity, hosts: &[Host]) -> Result<Placed, DirError> {
        self.dir.issue(authority, identity, hosts, self.terms.days, self.now, self.overwrite())
    }

    fn overwrite(&self) -> Overwrite {
        if self.terms.force { Overwrite::Replace } else { Overwrite::Keep }
    }

    fn authority_row(&self, initialised: &Initialised) -> Row {
        let Initialised { authority, outcome } = initialised;
        let (style, word) = word(*outcome);
        let cells = [
            word.to_owned(),
            print::folder(&self.dir.root().join(AUTHORITY_FOLDER)),
            format!("authority of cluster {}", authority.cluster()),
            print::validity(authority.certificate(), self.now),
            "keep ca.key off the servers".to_owned(),
        ];
        Row { style, cells: cells.to_vec() }
    }
}

/// Renews identities by name or path, all of them if none is named.
pub(crate) fn renew(
    root: &Path,
    mut names: Vec<String>,
    days: Option<Days>,
    now: SystemTime,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let dir = CertsDir::open(root)?;
    let authority = dir.authority(None)?;
    if names.is_empty() {
        names = list(root)?.into_iter().filter(|entry| !entry.is_authority()).map(|entry| entry.name).collect();
    }
    let prefix = root.join("");
    let prefix = prefix.to_string_lossy();
    let mut rows = Vec::new();
    let renewed = names.iter().try_for_each(|name| {
        // A shell completes names to paths.
        let name = name.strip_prefix(&*prefix).unwrap_or(name).trim_end_matches('/');
        rows.push(row(&dir.renew(&authority, name, days, now)?, &[], now));
        Ok::<_, DirError>(())
    });
    print::rows(out, &rows)?;
    Ok(renewed?)
}

fn row(placed: &Placed, wanted: &[Host], now: SystemTime) -> Row {
    let Placed { folder, outcome, certificate } = placed;
    let (style, word) = word(*outcome);
    let mut cells =
        vec![word.to_owned(), print::folder(folder), print::names(certificate), print::validity(certificate, now)];
    let has = certificate.hosts();
    let lacking = wanted.iter().map(Host::to_string).find(|host| !has.contains(host));
    cells.extend(lacking.map(|host| format!("without {host}; --force issues it anew")));
    Row { style, cells }
}

fn word(outcome: Outcome) -> (anstyle::Style, &'static str) {
    match outcome {
        Outcome::Created => (GOOD, "created"),
        Outcome::Kept => (FAINT, "kept"),
        Outcome::Replaced => (GOOD, "replaced"),
        Outcome::Renewed => (GOOD, "renewed"),
    }
}

fn labels<const N: usize>(names: [&str; N]) -> [Label; N] {
    names.map(|name| name.parse().expect("the names in this file are labels"))
}

/// Says what to type next, on standard error, after all that was written to `out`.
fn next(out: &mut impl Write, command: &str) -> anyhow::Result<()> {
    out.flush()?;
    Ok(writeln!(anstream::stderr(), "\n{FAINT}next:{FAINT:#} {command}")?)
}
