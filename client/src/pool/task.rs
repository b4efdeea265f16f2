//! The one task that dials a node, for as long as the node is wanted.

use std::{io, sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use quoit_proto_types::{ErrorCode, Identity, Label, Member, Role, message::session::Hello, view::Address};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tracing::{debug, info};

use super::State;
use crate::{
    connection::Connection,
    dial::{self, Resolver, Target},
    endpoints::Endpoints,
    error::DialError,
    packets::PacketBytes,
    tls::CertificateFiles,
};

/// First pause after a failed attempt; doubles up to [`REDIAL_MAX`], each spread by a random share.
const REDIAL_MIN: Duration = Duration::from_millis(50);
/// Longest pause between attempts: how late a returning node may be noticed.
const REDIAL_MAX: Duration = Duration::from_secs(5);
/// A connection that lived this long was good: the next one is dialled at once.
const STABLE_AFTER: Duration = Duration::from_secs(5);

/// How this client dials: as whom, and over which endpoints.
#[derive(Debug)]
pub(crate) struct Dialler {
    pub(crate) endpoints: Endpoints,
    pub(crate) resolver: Resolver,
    pub(crate) files: CertificateFiles,
    pub(crate) identity: Identity,
    pub(crate) dial_timeout: Duration,
    pub(crate) packets: PacketBytes,
    /// Seeds the jitter of the pauses.
    pub(crate) seed: u64,
}

impl Dialler {
    /// Dials the node `name`, or any node of the cluster if it is `None`, at every address behind `address`, each for no
    /// longer than `wait`. A name is resolved anew.
    ///
    /// The certificate files are read anew, so that a renewed certificate takes effect at the next dial.
    pub(crate) async fn dial(
        &self,
        address: &Address,
        name: Option<&Label>,
        wait: Duration,
    ) -> Result<Connection, DialError> {
        let credentials = self.files.load()?;
        let cluster = &self.identity.cluster;
        let server_name = match name {
            Some(name) => Identity { role: Role::Node, name: name.clone(), cluster: cluster.clone() }.dns_name(),
            None => Role::Node.dns_name(cluster),
        };
        let tls = credentials.dialler(self.identity.role);
        let dial = |address| {
            let (role, packets) = (self.identity.role, self.packets);
            let target = Target { address, server_name: server_name.clone(), role, packets };
            let tls = Arc::clone(&tls);
            async move {
                let failed = |error: io::Error| DialError::Socket { address, reason: error.to_string() };
                let endpoint = self.endpoints.towards(address).map_err(failed)?;
                dial::dial(&endpoint, tls, &target, &Hello { node: None }, wait).await
            }
        };
        let dialled = self.resolver.dial_any(address, wait, dial).await?;
        self.open(dialled).await
    }

    async fn open(&self, dialled: dial::Dialled) -> Result<Connection, DialError> {
        let address = dialled.connection.remote_address();
        match timeout(self.dial_timeout, Connection::open(dialled)).await {
            Ok(opened) => opened.map_err(|reason| DialError::Failed { address, reason }),
            Err(_) => Err(DialError::Timeout { address, waited: self.dial_timeout }),
        }
    }
}

/// Keeps `member` connected until the task is aborted.
pub(super) async fn run(dialler: Arc<Dialler>, member: Member, state: watch::Sender<State>) {
    let pauses = || {
        ExponentialBuilder::default()
            .with_min_delay(REDIAL_MIN)
            .with_max_delay(REDIAL_MAX)
            .without_max_times()
            .with_jitter()
            .with_jitter_seed(dialler.seed ^ u64::from(member.ordinal.value()))
            .build()
    };
    let mut upcoming = pauses();
    loop {
        let adopted = match &*state.borrow() {
            State::Ready(connection) => Some(Arc::clone(connection)),
            State::Connecting | State::Broken(_) => None,
        };
        let dialled = match adopted {
            Some(connection) => Ok(connection),
            None => dialler.dial(&member.address, Some(&member.name), dialler.dial_timeout).await.map(Arc::new),
        };
        match dialled {
            Ok(connection) => {
                let since = Instant::now();
                state.send_replace(State::Ready(Arc::clone(&connection)));
                tokio::select! {
                    biased;
                    reason = connection.closed() => {
                        info!(node = %member.name, address = %member.address, %reason, "connection lost");
                        state.send_replace(State::Connecting);
                    }
                    () = connection.farewell() => hang_up(&member, connection, &state).await,
                }
                // A node that accepts and closes again is not dialled in a tight loop.
                if since.elapsed() >= STABLE_AFTER {
                    upcoming = pauses();
                    continue;
                }
            }
            Err(error) => {
                debug!(node = %member.name, address = %member.address, %error, "dial failed");
                state.send_replace(State::Broken(error));
            }
        }
        sleep(upcoming.next().unwrap_or(REDIAL_MAX)).await;
    }
}

/// Takes leave of a node that is about to stop: nothing more is asked of it, and it is left once it has answered what it was
/// asked. Who holds the connection still, about to ask, is answered as well.
async fn hang_up(member: &Member, connection: Arc<Connection>, state: &watch::Sender<State>) {
    let (address, code) = (connection.remote_address(), ErrorCode::ShuttingDown);
    info!(node = %member.name, %address, "the node is about to stop");
    state.send_replace(State::Broken(DialError::SessionRefused { address, code, text: String::new() }));
    tokio::select! {
        biased;
        _ = connection.closed() => {}
        () = connection.idle() => {}
    }
}
