//! The async client of Quoit, a distributed in-memory cache over QUIC with mutual TLS.
//!
//! A [`Client`] learns the cluster's view from any seed, computes every key's owner itself, and talks to the owner over one
//! connection. Small requests share long-lived streams; a value above 64 KiB gets a stream of its own. One node tells the
//! client of each new view as it is decided; a request that went by an old one is redirected, once.
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
//! Deliberately not here: a near-cache, compression, serialisation of values, and any plaintext mode.
//!
//! The modules `dial`, `endpoint`, `frames` and `tls` are hidden from this documentation. They are public only because a
//! node dials its peers by the same code, and they may change with any release.
#![deny(missing_docs)]

mod batch;
mod client;
mod config;
mod connection;
mod core;
#[doc(hidden)]
pub mod dial;
mod discovery;
#[doc(hidden)]
pub mod endpoint;
mod error;
#[doc(hidden)]
pub mod frames;
mod pool;
mod request;
mod retry;
mod subscription;
#[doc(hidden)]
pub mod tls;
mod topology;
mod views;

pub use quoit_proto_types::{
    Ballot, Boot, ClusterId, Epoch, ErrorCode, Fence, HashPoint, Identity, Instance, Label, NodeId, Ordinal, Role,
    SlotCount, SlotIndex, Term, View,
    message::{
        admin::{AdminReply, AdminRequest, ElectionRole, NodeStatus, Quorum},
        client::Refusal,
        membership::{Command, CommandAnswer},
    },
    view::{
        Address, AddressError, Change, Intent, Liveness, Member, Owner, TimingProfile, UnknownProfile, ViewConfig,
        ViewDelta, ViewFields, ViewHash, ViewRecord, Zone,
    },
};

pub use crate::{
    client::{Client, KEY_BYTES_MAX, Placement, SetOptions, TimeToLive},
    config::ClientConfig,
    error::{ConnectError, DialError, Effect, RequestError},
    retry::RetryPolicy,
    tls::{CertificateFiles, CredentialsError},
};

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[derive(Debug)]
pub struct Readme;
