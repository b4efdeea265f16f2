//! Many keys at once: grouped by owner, so that a slow node delays only its own keys.

use std::{collections::BTreeMap, future::Future};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use quoit_proto_types::{HashPoint, KeyspaceId, Ordinal, Version, message::client::Written};

use crate::{
    answers::Found,
    client::Client,
    error::RequestError,
    options::{GetOptions, SetOptions, WriteOptions},
};

/// Requests of one batch under way to one node: enough to fill packets, well below a connection's limit.
const IN_FLIGHT_PER_NODE: usize = 256;

impl Client {
    /// Reads many keys; the results are in the order of `keys`, each with its own error.
    ///
    /// ```no_run
    /// # async fn example(client: quoit_client::Client) {
    /// for (key, value) in ["a", "b"].iter().zip(client.get_many(["a", "b"]).await) {
    ///     println!("{key}: {value:?}");
    /// }
    /// # }
    /// ```
    pub async fn get_many<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Vec<Result<Option<Bytes>, RequestError>> {
        let keys: Vec<K> = keys.into_iter().collect();
        self.each(keys.iter().map(AsRef::as_ref), async |index| self.get(&keys[index]).await).await
    }

    /// Reads many keys, all with `options`, and says which versions they have; the results are in the order of `keys`.
    ///
    /// ```no_run
    /// # use quoit_client::{Client, GetOptions, ReadLevel};
    /// # async fn example(client: Client) {
    /// let newest = client.get_many_with(["a", "b"], GetOptions::new().level(ReadLevel::Quorum)).await;
    /// # }
    /// ```
    pub async fn get_many_with<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
        options: GetOptions,
    ) -> Vec<Result<Option<Found>, RequestError>> {
        let keys: Vec<K> = keys.into_iter().collect();
        self.each(keys.iter().map(AsRef::as_ref), async |index| self.get_with(&keys[index], options).await).await
    }

    /// Writes many keys, all with `options`; each result says which version that is, in the order of `entries`.
    ///
    /// ```no_run
    /// # use quoit_client::{Client, SetOptions, WriteLevel};
    /// # async fn example(client: Client) {
    /// let options = SetOptions::new().level(WriteLevel::One);
    /// let results = client.set_many([("a", "1"), ("b", "2")], options).await;
    /// assert!(results.iter().all(Result::is_ok));
    /// # }
    /// ```
    pub async fn set_many<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        entries: impl IntoIterator<Item = (K, V)>,
        options: SetOptions,
    ) -> Vec<Result<Version, RequestError>> {
        let entries: Vec<(K, V)> = entries.into_iter().collect();
        self.each(entries.iter().map(|(key, _)| key.as_ref()), async |index| {
            let (key, value) = &entries[index];
            self.set_with(key, value, options).await
        })
        .await
    }

    /// Removes many keys; each result says whether the key was there, in the order of `keys`.
    ///
    /// ```no_run
    /// # async fn example(client: quoit_client::Client) {
    /// let were_there = client.delete_many(["a", "b"]).await;
    /// # }
    /// ```
    pub async fn delete_many<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Vec<Result<Written, RequestError>> {
        self.delete_many_with(keys, WriteOptions::default()).await
    }

    /// Removes many keys, all with `options`; each result says whether the key was there, in the order of `keys`.
    ///
    /// ```no_run
    /// # use quoit_client::{Client, WriteLevel, WriteOptions};
    /// # async fn example(client: Client) {
    /// let deleted = client.delete_many_with(["a", "b"], WriteOptions::new().level(WriteLevel::Quorum)).await;
    /// # }
    /// ```
    pub async fn delete_many_with<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
        options: WriteOptions,
    ) -> Vec<Result<Written, RequestError>> {
        let keys: Vec<K> = keys.into_iter().collect();
        self.each(keys.iter().map(AsRef::as_ref), async |index| self.delete_with(&keys[index], options).await).await
    }

    /// Runs `call` for every key's index, the nodes side by side, and collects the results in order. Keys go together whose
    /// primary is the same, which is who most of them are asked of.
    async fn each<'k, T, F: Future<Output = Result<T, RequestError>>>(
        &self,
        keys: impl Iterator<Item = &'k [u8]>,
        call: impl Fn(usize) -> F,
    ) -> Vec<Result<T, RequestError>> {
        let topology = self.core.topology();
        let mut groups: BTreeMap<Option<Ordinal>, Vec<usize>> = BTreeMap::new();
        let mut count = 0;
        for key in keys {
            let point = HashPoint::of_key(KeyspaceId::DEFAULT, key);
            groups.entry(topology.ring.primary_of(point)).or_default().push(count);
            count += 1;
        }
        let call = &call;
        let nodes = groups.into_values().map(|indices| {
            let calls = stream::iter(indices).map(move |index| async move { (index, call(index).await) });
            calls.buffer_unordered(IN_FLIGHT_PER_NODE)
        });
        let mut answers = stream::select_all(nodes);
        let mut results: Vec<Option<Result<T, RequestError>>> = Vec::new();
        results.resize_with(count, || None);
        while let Some((index, result)) = answers.next().await {
            results[index] = Some(result);
        }
        results.into_iter().map(|result| result.unwrap_or(Err(RequestError::Closed))).collect()
    }
}
