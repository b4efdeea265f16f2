//! Many keys at once: grouped by owner, so that a slow node delays only its own keys.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use quoit_proto_types::{
    HashPoint, Ordinal, Version,
    message::client::{Expiry, Written},
};

use crate::{
    answers::Found,
    client::Client,
    connection::TOGETHER_MAX,
    error::RequestError,
    execute::{OneDone, OneOfMany},
    options::{GetOptions, SetOptions, WriteOptions},
    request::{Request, point_of},
    session::SessionKey,
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
        let found = self.get_many_with(keys, GetOptions::default()).await;
        found.into_iter().map(|found| Ok(found?.map(|found| found.value))).collect()
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
        let keys: Vec<(&[u8], SessionKey)> =
            keys.iter().map(AsRef::as_ref).map(|key| (key, self.session.key(key))).collect();
        let request = |index: usize| Request::Get(self.read(keys[index].0, keys[index].1, options));
        let finish = |done: OneDone| self.found(keys[done.index].1, done.reply?);
        self.each(keys.iter().map(|(key, _)| *key), request, finish).await
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
        let entries: Vec<(&[u8], &[u8])> = entries.iter().map(|(key, value)| (key.as_ref(), value.as_ref())).collect();
        let header = |key| self.write(key, WriteOptions { level: options.level }, options.expiry);
        let request = |index: usize| Request::Set { header: header(entries[index].0), value: entries[index].1 };
        let finish =
            |OneDone { index, after, reply }| Ok(self.written(entries[index].0, self.heard(after, reply)?)?.version);
        self.each(entries.iter().map(|(key, _)| *key), request, finish).await
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
        let keys: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
        let request = |index: usize| Request::Delete(self.write(keys[index], options, Expiry::Never));
        let finish = |OneDone { index, after, reply }| self.written(keys[index], self.heard(after, reply)?);
        self.each(keys.iter().copied(), request, finish).await
    }

    /// Makes a request of every key, and something of its reply; the results are in the order of the keys. The nodes are asked
    /// side by side, and keys go together whose primary is the same, which is who most of them are asked of.
    async fn each<'k, T>(
        &self,
        keys: impl Iterator<Item = &'k [u8]>,
        request: impl Fn(usize) -> Request<'k>,
        finish: impl Fn(OneDone) -> Result<T, RequestError>,
    ) -> Vec<Result<T, RequestError>> {
        let topology = self.core.topology();
        let mut groups: BTreeMap<Option<Ordinal>, Vec<(usize, HashPoint)>> = BTreeMap::new();
        let (count, _) = keys.size_hint();
        let mut results: Vec<Option<Result<T, RequestError>>> = Vec::with_capacity(count);
        for (index, key) in keys.enumerate() {
            let point = point_of(key);
            if let Ok(point) = point {
                let group = groups.entry(topology.ring.primary_of(point));
                group.or_insert_with(|| Vec::with_capacity(count.min(TOGETHER_MAX))).push((index, point));
            }
            results.push(point.err().map(Err));
        }
        let request = &request;
        let asked = move |keys: Vec<(usize, HashPoint)>| {
            let one = |(index, point)| OneOfMany { index, point, request: request(index) };
            self.core.execute_together(keys.into_iter().map(one).collect())
        };
        let mut take = |answered: Vec<OneDone>| {
            for done in answered {
                let index = done.index;
                results[index] = Some(finish(done));
            }
        };
        let mut nodes: Vec<Vec<_>> = groups.into_values().map(in_parts).collect();
        if let [node] = &mut nodes[..]
            && let [_] = node[..]
        {
            // Most batches are a single part, for which nothing is to be watched over.
            take(asked(node.remove(0)).await);
        } else {
            let each = |parts| stream::iter(parts).map(asked).buffer_unordered(PARTS_IN_FLIGHT_PER_NODE);
            let mut answers = stream::select_all(nodes.into_iter().map(each));
            while let Some(answered) = answers.next().await {
                take(answered);
            }
        }
        results.into_iter().map(|result| result.unwrap_or(Err(RequestError::Closed))).collect()
    }
}

/// Keys in as many parts as it takes for each to go together.
fn in_parts(keys: Vec<(usize, HashPoint)>) -> Vec<Vec<(usize, HashPoint)>> {
    if keys.len() <= TOGETHER_MAX { vec![keys] } else { keys.chunks(TOGETHER_MAX).map(<[_]>::to_vec).collect() }
}
