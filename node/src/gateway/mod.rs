//! What a node answers: decode, ask the core and the store, encode.

pub(crate) mod admin;
pub(crate) mod cache;
mod news;
mod requests;
