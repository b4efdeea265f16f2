//! A cache as its callers see it, whoever it is.

use bytes::Bytes;
use quoit_client::{Client, RequestError, SetOptions};

use crate::floor;

/// Something that keeps values by key.
pub trait Cache: Clone + Send + Sync + 'static {
    /// Reads a key; nothing if it is absent.
    fn get(&self, key: &[u8]) -> impl Future<Output = Result<Option<Bytes>, Failure>> + Send;

    /// Writes a key.
    fn set(&self, key: &[u8], value: &[u8]) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Reads many keys, each with its own answer, in their order. One after the other, unless the cache can do better.
    fn get_many(&self, keys: &[Vec<u8>]) -> impl Future<Output = Vec<Result<Option<Bytes>, Failure>>> + Send {
        async move {
            let mut answers = Vec::with_capacity(keys.len());
            for key in keys {
                answers.push(self.get(key).await);
            }
            answers
        }
    }

    /// Writes many keys, each with its own answer, in their order. One after the other, unless the cache can do better.
    fn set_many(&self, entries: &[(Vec<u8>, Vec<u8>)]) -> impl Future<Output = Vec<Result<(), Failure>>> + Send {
        async move {
            let mut answers = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                answers.push(self.set(key, value).await);
            }
            answers
        }
    }
}

/// A request that came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {why}")]
pub struct Failure {
    /// By which such failures are counted.
    pub kind: &'static str,
    /// What there is to say of this one.
    pub why: String,
}

impl Failure {
    /// A connection that broke, or an answer that is none.
    pub fn lost(why: impl ToString) -> Self {
        Self { kind: "connection lost", why: why.to_string() }
    }

    /// An answer that is a refusal.
    pub fn refused(why: impl ToString) -> Self {
        Self { kind: "refused", why: why.to_string() }
    }
}

/// A client of Quoit, and how it writes.
#[derive(Clone, Debug)]
pub struct Quoit {
    /// The client.
    pub client: Client,
    /// How it writes.
    pub writes: SetOptions,
}

impl Quoit {
    /// A client that writes as its configuration says.
    pub fn new(client: Client) -> Self {
        Self { client, writes: SetOptions::new() }
    }
}

impl Cache for Quoit {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        Ok(self.client.get(key).await?)
    }

    async fn set(&self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        self.client.set_with(key, value, self.writes).await?;
        Ok(())
    }

    async fn get_many(&self, keys: &[Vec<u8>]) -> Vec<Result<Option<Bytes>, Failure>> {
        let answers = self.client.get_many(keys).await;
        answers.into_iter().map(|answer| Ok(answer?)).collect()
    }

    async fn set_many(&self, entries: &[(Vec<u8>, Vec<u8>)]) -> Vec<Result<(), Failure>> {
        let entries = entries.iter().map(|(key, value)| (key, value));
        let answers = self.client.set_many(entries, self.writes).await;
        answers.into_iter().map(|answer| Ok(answer.map(drop)?)).collect()
    }
}

impl Cache for floor::Client {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        let answer = self.ask(key, &[]).await.map_err(Failure::lost)?;
        Ok(Some(answer).filter(|value| !value.is_empty()))
    }

    async fn set(&self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        self.ask(key, value).await.map(drop).map_err(Failure::lost)
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        let (kind, why) = (error.kind(), error.with_causes());
        Self { kind, why }
    }
}
