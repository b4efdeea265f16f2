//! The node's store, which is pure: see [`quoit_core::store`].

pub use quoit_core::store::{Store, StoreConfig};
