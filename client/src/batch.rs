//! Many keys at once: grouped by owner, so that a slow node delays only its own keys.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use quoit_proto_types::{
    Ordinal, Version,
    message::client::{Expiry, WriteHeader, Written},
};

use crate::{
    answers::Found,
    client::Client,
    connection::TOGETHER_MAX,
    error::RequestError,
    execute::{Asked, OneOfMany},
    options::{GetOptions, SetOptions, WriteOptions},
    request::{Reply, Request, point_of},
    session::Seen,
};

/// Pieces of one batch under way to one node, so that it is never without: well below a connection's limit.
const PARTS_IN_FLIGHT_PER_NODE: usize = 2;

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
        self.find_many(keys, GetOptions::default(), |found| found.value).await
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
        self.find_many(keys, options, |found| found).await
    }

    async fn find_many<K: AsRef<[u8]>, T>(
        &self,
        keys: impl IntoIterator<Item = K>,
        options: GetOptions,
        wanted: impl Fn(Found) -> T,
    ) -> Vec<Result<Option<T>, RequestError>> {
        let keys: Vec<K> = keys.into_iter().collect();
        let keys: Vec<(&[u8], Seen)> =
            keys.iter().map(AsRef::as_ref).map(|key| (key, self.session.seen(key))).collect();
        let ask = || Asked {
            request: |index: usize| Request::Get(self.read(keys[index].0, keys[index].1, options)),
            finish: |index: usize, reply: Result<_, _>| Ok(self.found(keys[index].1, reply?)?.map(&wanted)),
        };
        self.each(keys.iter().map(|(key, _)| *key), ask).await
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
        let entries: &Vec<(&[u8], &[u8])> =
            &entries.iter().map(|(key, value)| (key.as_ref(), value.as_ref())).collect();
        let ask = || {
            let header = self.write(&[], WriteOptions { level: options.level }, options.expiry);
            let request = move |index: usize| {
                let (key, value) = entries[index];
                Request::Set { header: WriteHeader { key, ..header }, value }
            };
            let finish = move |index: usize, reply| {
                Ok(self.written(entries[index].0, self.heard(header.after, reply)?)?.version)
            };
            Asked { request, finish }
        };
        self.each(entries.iter().map(|(key, _)| *key), ask).await
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
        let keys: &Vec<&[u8]> = &keys.iter().map(AsRef::as_ref).collect();
        let ask = || {
            let header = self.write(&[], options, Expiry::Never);
            let request = move |index: usize| Request::Delete(WriteHeader { key: keys[index], ..header });
            let finish = move |index: usize, reply| self.written(keys[index], self.heard(header.after, reply)?);
            Asked { request, finish }
        };
        self.each(keys.iter().copied(), ask).await
    }

    /// Makes a request of every key, and something of its reply; the results are in the order of the keys. The nodes are asked
    /// side by side, and keys go together whose primary is the same, which is who most of them are asked of. `ask` is called for
    /// each part that goes together, when its turn comes.
    async fn each<'k, T, Q, F>(
        &self,
        keys: impl ExactSizeIterator<Item = &'k [u8]>,
        ask: impl Fn() -> Asked<Q, F>,
    ) -> Vec<Result<T, RequestError>>
    where
        Q: Fn(usize) -> Request<'k>,
        F: Fn(usize, Result<Reply, RequestError>) -> Result<T, RequestError>,
    {
        let topology = self.core.topology();
        let mut groups: BTreeMap<Option<Ordinal>, Vec<OneOfMany>> = BTreeMap::new();
        let count = keys.len();
        // None of them stays: every key that is asked about is heard of.
        let mut results: Vec<Result<T, RequestError>> = (0..count).map(|_| Err(RequestError::Closed)).collect();
        for (index, key) in keys.enumerate() {
            match point_of(key) {
                Ok(point) => groups
                    .entry(topology.ring.primary_of(point))
                    .or_insert_with(|| Vec::with_capacity(count.min(TOGETHER_MAX)))
                    .push(OneOfMany { index, point }),
                Err(error) => results[index] = Err(error),
            }
        }
        let ask = |keys: Vec<OneOfMany>| self.core.execute_together(keys, ask());
        let mut take = |answered: Vec<(usize, Result<T, RequestError>)>| {
            for (index, result) in answered {
                results[index] = result;
            }
        };
        let mut nodes: Vec<Vec<_>> = groups.into_values().map(in_parts).collect();
        if let [node] = &mut nodes[..]
            && let [_] = node[..]
        {
            // Most batches are a single part, for which nothing is to be watched over.
            take(ask(node.remove(0)).await);
        } else {
            let each = |parts| stream::iter(parts).map(&ask).buffer_unordered(PARTS_IN_FLIGHT_PER_NODE);
            let mut answers = stream::select_all(nodes.into_iter().map(each));
            while let Some(answered) = answers.next().await {
                take(answered);
            }
        }
        results
    }
}

/// Keys in as many parts as it takes for each to go together.
fn in_parts(keys: Vec<OneOfMany>) -> Vec<Vec<OneOfMany>> {
    if keys.len() <= TOGETHER_MAX { vec![keys] } else { keys.chunks(TOGETHER_MAX).map(<[_]>::to_vec).collect() }
}
