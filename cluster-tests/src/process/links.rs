//! What connects the nodes, and how it is cut.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
};

use anyhow::{Context, Result, bail};

use super::{forwarders::Forwarders, namespace};

/// Ports from below those that the system hands out to others.
const PORTS: std::ops::Range<u16> = 10_000..30_000;
/// In a namespace each node has an address of its own, this and those after it, by which packet filters tell nodes apart.
const FIRST_HOST: u8 = 11;
const NAMESPACE_PORT: u16 = 7750;

/// A way to connect nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// Loopback as it is, which cannot be cut.
    Direct,
    /// Addresses of a network namespace that this process has for itself, with packet filters.
    Namespace,
    /// A UDP forwarder in this process before each node.
    Forwarders,
}

impl LinkKind {
    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "loopback",
            Self::Namespace => "network namespace, nft drops",
            Self::Forwarders => "loopback, UDP forwarders that drop",
        }
    }
}

/// Where one node listens, and where others reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) listen: SocketAddr,
    pub(super) reached: SocketAddr,
}

/// The connections of a fleet's nodes, which are numbered from 0.
#[derive(Debug)]
pub(super) enum Links {
    /// See [`LinkKind::Direct`].
    Direct,
    /// See [`LinkKind::Namespace`].
    Namespace,
    /// See [`LinkKind::Forwarders`].
    Forwarders(Forwarders),
}

impl Links {
    /// Connections for `count` nodes, and their places.
    pub(super) async fn lay(kind: LinkKind, count: usize) -> Result<(Self, Vec<Place>)> {
        let direct = |listen| Place { listen, reached: listen };
        Ok(match kind {
            LinkKind::Direct => (Self::Direct, free_addresses(count)?.into_iter().map(direct).collect()),
            LinkKind::Namespace => {
                let places = (0..count).map(|index| host(index).map(direct)).collect::<Result<_>>()?;
                namespace::filter(&[])?;
                (Self::Namespace, places)
            }
            LinkKind::Forwarders => {
                let listens = free_addresses(count)?;
                let forwarders = Forwarders::start(&listens).await?;
                let pairs = listens.iter().zip(forwarders.fronts());
                let places = pairs.map(|(&listen, &reached)| Place { listen, reached }).collect();
                (Self::Forwarders(forwarders), places)
            }
        })
    }

    /// Drops from now on every datagram from the first to the second of each pair, and no others.
    ///
    /// # Errors
    /// Links that cannot be cut, or a packet filter that refuses.
    pub(super) fn cut(&self, pairs: &BTreeSet<(usize, usize)>) -> Result<()> {
        match self {
            Self::Direct if pairs.is_empty() => Ok(()),
            Self::Direct => bail!("plain loopback cannot be cut"),
            Self::Namespace => {
                let address = |index: usize| host(index).map(|host| host.ip());
                let pairs = pairs.iter().map(|&(from, to)| Ok((address(from)?, address(to)?)));
                namespace::filter(&pairs.collect::<Result<Vec<_>>>()?)
            }
            Self::Forwarders(forwarders) => {
                forwarders.cut(pairs);
                Ok(())
            }
        }
    }
}

fn host(index: usize) -> Result<SocketAddr> {
    let last = u8::try_from(index).ok().and_then(|index| FIRST_HOST.checked_add(index)).context("too many nodes")?;
    Ok(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), NAMESPACE_PORT)))
}

/// Loopback addresses that nobody uses. They are all bound at once, so that none is given twice.
pub(super) fn free_addresses(count: usize) -> Result<Vec<SocketAddr>> {
    let mut bound = Vec::new();
    for _ in 0..1000 {
        if bound.len() == count {
            break;
        }
        let address = (Ipv4Addr::LOCALHOST, rand::random_range(PORTS));
        bound.extend(UdpSocket::bind(address).ok());
    }
    anyhow::ensure!(bound.len() == count, "there are no free ports from {} to {}", PORTS.start, PORTS.end);
    Ok(bound.iter().map(UdpSocket::local_addr).collect::<Result<_, _>>()?)
}
