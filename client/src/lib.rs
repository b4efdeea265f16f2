//! The async client of Quoit, a distributed in-memory cache over QUIC with mutual TLS.
//!
//! A [`Client`] learns the cluster's view from any seed, computes every key's owners itself, and talks to the first of them
//! that is well, or else to any node, as each can carry out every request. There is one connection to each node. Small requests
//! share long-lived streams; a value above 64 KiB gets a stream of its own. One node tells the client of each new view as it is
//! decided; a request that went by an old one is redirected, once.
//!
//! ```no_run
//! use std::time::Duration;
//! use quoit_client::{Client, ClientConfig, SetOptions};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let client = Client::connect(ClientConfig::new("certs/client", ["127.0.0.1:7750"])?).await?;
//!     client.set_with("user:42", "Ada", SetOptions::new().ttl(Duration::from_secs(300))).await?;
//!     if let Some(name) = client.get("user:42").await? {
//!         println!("{}", String::from_utf8_lossy(&name));
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Levels
//!
//! A key has as many copies as the cluster is configured for, two by default. How many of them a request waits for is its level,
//! of the request ([`SetOptions::level`], [`GetOptions::level`], [`WriteOptions::level`]) or of all that say nothing
//! ([`ClientConfig::write_level`], [`ClientConfig::read_level`]). A write goes to all owners whatever its level; that only says
//! when it is acknowledged.
//!
//! | level of a write | acknowledged when | so it | and fails when |
//! |---|---|---|---|
//! | [`Any`](WriteLevel::Any) | one node holds it, be it only for an owner out of reach | survives until that node crashes, and may not be found by reads before | no node can take it |
//! | [`One`](WriteLevel::One) | one owner holds it | is lost if that owner crashes before the others have it, mostly within milliseconds | no owner can be reached |
//! | [`Two`](WriteLevel::Two), the default | two nodes hold it, owners or stand-ins for those out of reach; one node, if the key has one copy | survives the crash of any one node, if it has two copies at all | fewer than two nodes can be reached |
//! | [`Quorum`](WriteLevel::Quorum) | a majority of the owners holds it | is seen by every later read at `Quorum`, and at `All` | a majority of the owners is down: with two copies, either one |
//! | [`All`](WriteLevel::All) | all owners hold it | is seen by every later read at any level, from an owner | any owner is down |
//!
//! | level of a read | answered by | so it |
//! |---|---|---|
//! | [`One`](ReadLevel::One), the default | one owner; another one if that is slow or has nothing | may miss a write of somebody else that is not everywhere yet |
//! | [`Quorum`](ReadLevel::Quorum) | the newest of a majority of the owners | sees every write that was acknowledged at `Quorum` or `All` before it began, and brings owners up to date that are behind |
//! | [`All`](ReadLevel::All) | the newest of all owners | sees every write that was acknowledged by an owner, and fails when one is down |
//!
//! Two writes of a key at once do not both survive: the later version does, everywhere. No level changes that, nor keeps a key
//! from being evicted when memory is short. While the owners of keys change, a level counts over the owners before and after.
//!
//! A write that fails with [`Effect::Unknown`] may have been carried out, or may be yet.
//!
//! # Sessions
//!
//! At any level a client finds what it has itself written or read, or something later, as long as an owner within reach has it:
//! see [`Client`] and [`ClientConfig::read_your_writes`]. If nobody within reach has it, the answer says so ([`Found::stale`]).
//! [`GetOptions::at_least`] carries that over to another process.
//!
//! Deliberately not here: a near-cache, compression, serialisation of values, and any plaintext mode.
//!
//! The modules `busy_poll`, `dial`, `endpoint`, `frames`, `packets`, `socket` and `tls` are hidden from this documentation. They
//! are public only because a node dials its peers by the same code, and they may change with any release.
#![deny(missing_docs)]

mod answers;
mod batch;
#[doc(hidden)]
pub mod busy_poll;
mod client;
mod config;
mod connection;
mod core;
#[doc(hidden)]
pub mod dial;
mod discovery;
#[doc(hidden)]
pub mod endpoint;
mod endpoints;
mod error;
mod execute;
#[doc(hidden)]
pub mod frames;
mod options;
#[doc(hidden)]
pub mod packets;
mod pool;
mod request;
mod retry;
mod session;
#[doc(hidden)]
pub mod socket;
mod subscription;
#[doc(hidden)]
pub mod tls;
mod topology;
mod views;

pub use quoit_proto_types::{
    Ballot, Boot, ClusterId, Epoch, ErrorCode, Fence, HashPoint, Hlc, Identity, Instance, Label, NodeId, Ordinal,
    ReadLevel, Role, SlotCount, SlotIndex, Term, Version, View, WriteLevel,
    level::UnknownLevel,
    message::{
        admin::{
            AdminReply, AdminRequest, ElectionRole, HandoffPeer, HandoffStatus, HintsStatus, NodeStatus, Quorum,
            UpkeepStatus,
        },
        client::{Refusal, Written},
        membership::{Command, CommandAnswer},
    },
    view::{
        Address, AddressError, Change, Intent, Liveness, Member, Owner, TimingProfile, UnknownProfile, ViewConfig,
        ViewDelta, ViewFields, ViewHash, ViewRecord, Zone,
    },
};

pub use crate::{
    answers::{Found, Placement, TimeToLive},
    client::{Client, KEY_BYTES_MAX},
    config::ClientConfig,
    error::{ConnectError, DialError, Effect, RequestError},
    options::{GetOptions, SetOptions, WriteOptions},
    retry::RetryPolicy,
    tls::{CertificateFiles, CredentialsError},
};

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[derive(Debug)]
pub struct Readme;
