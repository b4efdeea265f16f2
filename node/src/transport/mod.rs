//! QUIC and TLS, and nothing above them: the only files that name quinn or rustls.
//!
//! [`listener`] lets in who may come, [`session`] is what remains of a connection once both sides know each other,
//! [`streams`] cuts its streams into requests and replies. [`dialler`] makes connections with other nodes, and [`peers`] is
//! what nodes say on them; [`peer_streams`] carries what they ask of each other's data.

pub(crate) mod counters;
pub(crate) mod credentials;
pub(crate) mod deferred;
pub(crate) mod dialler;
pub(crate) mod endpoint;
mod halves;
pub(crate) mod listener;
pub(crate) mod peer_streams;
pub(crate) mod peers;
pub(crate) mod refusals;
pub(crate) mod session;
pub(crate) mod streams;
