//! What a node answers: decode, ask the core and the store, encode.

pub(crate) mod admin;
pub(crate) mod cache;
pub(crate) mod news;
mod requests;
