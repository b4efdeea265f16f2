//! Requests for keys, answered at once where this node alone decides, and by a coordinator where others take part.
//!
//! At once are answered: reads at level ONE of a key that this node owns and has, and everything about a key of which it has
//! the only copy. Any node coordinates any other request, whatever view its client goes by.

use bytes::{Bytes, BytesMut};
use quoit_client::ErrorCode;
use quoit_core::{
    replication::ClientOperation,
    routing::{Routing, Standing},
    store::{self, Applied, ApplyError, Entry, Origin, Record},
    time::Wall,
};
use quoit_proto_types::{
    EntryKind, HashPoint, Hlc, KeyspaceId, ReadLevel, Stamp, Version,
    codec::DecodeError,
    frame::{FrameHeader, FrameType},
    limits,
    message::client::{Expiry, ReadHeader, Refusal, WriteHeader, Written},
};

use super::cache::{From, Gateway};
use crate::{clock::Reading, data::answer};

/// How often a write is stamped anew that is older than what has been collected. The second stamp is later than that.
const STAMPS_MAX: usize = 2;

/// What this node is to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Its only owner, and no ring change is under way.
    Sole,
    /// One of its owners.
    Owner,
    /// None of them, or not yet.
    Elsewhere,
}

/// What became of a write that this node decides alone.
#[derive(Clone, Copy, Debug)]
pub(super) enum Alone {
    Written(Written),
    /// Others take part, and it is this.
    Shared(Stamp),
}

/// What became of a touch that this node decides alone.
enum Touched {
    Done(Written),
    Miss,
    /// Others take part: the view has changed.
    Moved,
}

/// What became of a read in this node's store.
enum Read {
    Answered,
    Large(Stamp, bool, Bytes),
    /// Others may know more.
    Elsewhere,
}

impl Place {
    pub(super) fn of(routing: &Routing, key: &[u8]) -> Self {
        let slot = routing.slot_of(HashPoint::of_key(KeyspaceId::DEFAULT, key));
        match routing.standing(slot) {
            Standing::Owner => {
                let owners = routing.owners(slot);
                if owners.now.len() == 1 && owners.then.is_none() { Self::Sole } else { Self::Owner }
            }
            Standing::Stranger | Standing::Pending => Self::Elsewhere,
        }
    }

    /// Whether what this node has may be enough for a read.
    fn answers(self, level: ReadLevel) -> bool {
        match self {
            Self::Sole => true,
            Self::Owner => level == ReadLevel::One,
            Self::Elsewhere => false,
        }
    }
}

impl Gateway {
    pub(super) fn get(
        &self,
        at: Reading,
        routing: &Routing,
        header: FrameHeader,
        body: &[u8],
        replies: &mut BytesMut,
        from: From<'_>,
    ) -> Result<(), Refusal> {
        let wall = at.wall;
        let read = ReadHeader::decode(body).map_err(bad_key)?;
        check_keyspace(read.keyspace)?;
        let (place, request) = (Place::of(routing, read.key), header.request);
        let answer = |entry: Option<&Entry>| match known(place, wall, read.at_least, entry) {
            Known::Live { entry, stamp, stale } => {
                let value = entry.value();
                if value.len() > limits::LANE_VALUE_BYTES_MAX {
                    return Read::Large(stamp, stale, entry.to_bytes());
                }
                // Copied under the lock, straight into the buffer that goes to the network.
                answer::value(replies, request, Some(routing), (&stamp, stale), value);
                Read::Answered
            }
            Known::Absent => {
                answer::miss(replies, request, Some(routing));
                Read::Answered
            }
            Known::Nothing => Read::Elsewhere,
        };
        let outcome = if place.answers(read.level) {
            self.plane.store.get_with(wall, routing.fence(), read.key, answer).unwrap_or(Read::Elsewhere)
        } else {
            Read::Elsewhere
        };
        match outcome {
            Read::Answered => Ok(()),
            Read::Large(stamp, stale, value) => {
                let reply = answer::header(FrameType::Value, request, Some(routing));
                self.reply_large(reply, &answer::value_front(&stamp, stale), value, replies, from.large())
            }
            Read::Elsewhere => {
                let ReadHeader { level, at_least, .. } = read;
                let key = Bytes::copy_from_slice(read.key);
                self.ask_others(at, header, from, ClientOperation::Get { level, at_least, wall, key });
                Ok(())
            }
        }
    }

    pub(super) fn ttl(
        &self,
        at: Reading,
        routing: &Routing,
        header: FrameHeader,
        body: &[u8],
        replies: &mut BytesMut,
        from: From<'_>,
    ) -> Result<(), Refusal> {
        let wall = at.wall;
        let read = ReadHeader::decode(body).map_err(bad_key)?;
        check_keyspace(read.keyspace)?;
        let (place, request) = (Place::of(routing, read.key), header.request);
        let answer = |entry: Option<&Entry>| {
            match known(place, wall, read.at_least, entry) {
                Known::Live { stamp, .. } => answer::remaining(replies, request, Some(routing), &stamp, wall),
                Known::Absent => answer::miss(replies, request, Some(routing)),
                Known::Nothing => return Read::Elsewhere,
            }
            Read::Answered
        };
        let is_answered = place.answers(read.level)
            && matches!(self.plane.store.peek_with(wall, routing.fence(), read.key, answer), Ok(Read::Answered));
        if !is_answered {
            let ReadHeader { level, at_least, .. } = read;
            let key = Bytes::copy_from_slice(read.key);
            self.ask_others(at, header, from, ClientOperation::TimeToLive { level, at_least, wall, key });
        }
        Ok(())
    }

    pub(super) fn set(
        &self,
        at: Reading,
        routing: &Routing,
        header: FrameHeader,
        body: &[u8],
        replies: &mut BytesMut,
        from: From<'_>,
    ) -> Result<(), Refusal> {
        let (write, value) = WriteHeader::decode(body).map_err(bad_key)?;
        check_keyspace(write.keyspace)?;
        self.check_value(value.len())?;
        check_again(write.again, EntryKind::Value)?;
        let stamp = |version| Stamp::value(version, expires_at(version, write.expiry));
        match self.write(at.wall, routing, &write, stamp, || Record::new(write.key, value))? {
            Alone::Written(written) => answer::done(replies, header.request, Some(routing), written),
            Alone::Shared(stamp) => {
                let record = Record::new(write.key, value);
                self.ask_others(at, header, from, ClientOperation::Set { level: write.level, stamp, record });
            }
        }
        Ok(())
    }

    pub(super) fn delete(
        &self,
        at: Reading,
        routing: &Routing,
        header: FrameHeader,
        body: &[u8],
        replies: &mut BytesMut,
        from: From<'_>,
    ) -> Result<(), Refusal> {
        let (write, _) = WriteHeader::decode(body).map_err(bad_key)?;
        check_keyspace(write.keyspace)?;
        check_again(write.again, EntryKind::Tombstone)?;
        match self.write(at.wall, routing, &write, Stamp::tombstone, || Record::new(write.key, b""))? {
            Alone::Written(written) => answer::done(replies, header.request, Some(routing), written),
            Alone::Shared(stamp) => {
                let key = Bytes::copy_from_slice(write.key);
                self.ask_others(at, header, from, ClientOperation::Delete { level: write.level, stamp, key });
            }
        }
        Ok(())
    }

    pub(super) fn touch(
        &self,
        at: Reading,
        routing: &Routing,
        header: FrameHeader,
        body: &[u8],
        replies: &mut BytesMut,
        from: From<'_>,
    ) -> Result<(), Refusal> {
        let wall = at.wall;
        let (write, _) = WriteHeader::decode(body).map_err(bad_key)?;
        let WriteHeader { keyspace, level, after, expiry, again: _, key } = write;
        check_keyspace(keyspace)?;
        let version = self.version(wall, routing, after)?;
        let (touched, expires_at_ms) = (version.hlc, expires_at(version, expiry));
        if Place::of(routing, key) == Place::Sole {
            match self.touch_alone(wall, routing, key, touched, expires_at_ms)? {
                Touched::Done(written) => {
                    answer::done(replies, header.request, Some(routing), written);
                    return Ok(());
                }
                Touched::Miss => {
                    answer::miss(replies, header.request, Some(routing));
                    return Ok(());
                }
                Touched::Moved => {}
            }
        }
        let key = Bytes::copy_from_slice(key);
        self.ask_others(at, header, from, ClientOperation::Touch { level, touched, expires_at_ms, wall, key });
        Ok(())
    }

    /// Changes the expiry of an entry, if there is one. This node has the only copy.
    fn touch_alone(
        &self,
        wall: Wall,
        routing: &Routing,
        key: &[u8],
        touched: Hlc,
        expires_at_ms: u64,
    ) -> Result<Touched, Refusal> {
        let fence = routing.fence();
        let copy = |entry: Option<&Entry>| {
            let live = entry.filter(|entry| entry.is_live(wall));
            live.map(|entry| (entry.stamp(), Record::new(key, entry.value())))
        };
        let (held, record) = match self.plane.store.get_with(wall, fence, key, copy) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Touched::Miss),
            Err(_) => return Ok(Touched::Moved),
        };
        let touched = touched.max(held.touched.next());
        let stamp = Stamp { version: held.version, touched, kind: EntryKind::Value, expires_at_ms };
        match self.plane.store.apply(wall, fence, Origin::Write, stamp, record) {
            // What was written meanwhile is later, and stays as it is.
            Ok(Applied::Stored { .. } | Applied::Known { .. } | Applied::Dropped) => {
                Ok(Touched::Done(Written { version: held.version, existed: true }))
            }
            Err(ApplyError::FenceMoved(_)) => Ok(Touched::Moved),
            Err(error) => Err(self.plane.refusal(routing, error)),
        }
    }

    /// Writes `record` under what `stamp` makes of a version, if this node alone decides. What another node has begun has its
    /// stamp already, and goes the way of all that others take part in.
    fn write(
        &self,
        wall: Wall,
        routing: &Routing,
        write: &WriteHeader<'_>,
        stamp: impl Fn(Version) -> Stamp,
        record: impl Fn() -> Record,
    ) -> Result<Alone, Refusal> {
        match write.again {
            Some(stamp) => Ok(Alone::Shared(stamp)),
            None if Place::of(routing, write.key) == Place::Sole => {
                self.write_alone(wall, routing, write.after, stamp, record)
            }
            None => Ok(Alone::Shared(stamp(self.version(wall, routing, write.after)?))),
        }
    }

    /// Writes `record` under what `stamp` makes of a version. This node has the only copy.
    pub(super) fn write_alone(
        &self,
        wall: Wall,
        routing: &Routing,
        mut after: Hlc,
        stamp: impl Fn(Version) -> Stamp,
        record: impl Fn() -> Record,
    ) -> Result<Alone, Refusal> {
        let fence = routing.fence();
        let mut refusal = Refusal::new(ErrorCode::TooOld, 0);
        for _ in 0..STAMPS_MAX {
            let version = self.version(wall, routing, after)?;
            let stamp = stamp(version);
            match self.plane.store.apply(wall, fence, Origin::Write, stamp, record()) {
                Ok(Applied::Stored { was_live } | Applied::Known { was_live }) => {
                    return Ok(Alone::Written(Written { version, existed: was_live }));
                }
                Ok(Applied::Dropped) => return Err(refusal),
                Err(ApplyError::FenceMoved(_)) => return Ok(Alone::Shared(stamp)),
                Err(error) => {
                    refusal = self.plane.refusal(routing, error);
                    let ApplyError::TooOld { until } = error else { return Err(refusal) };
                    after = after.max(until);
                }
            }
        }
        Err(refusal)
    }

    /// Stamps a write.
    pub(super) fn version(&self, wall: Wall, routing: &Routing, after: Hlc) -> Result<Version, Refusal> {
        self.plane.version(routing, wall, after)?.ok_or_else(|| self.not_ready())
    }
}

/// What this node's store says about a key.
enum Known<'e> {
    /// There is a value, which may be older than the client has seen.
    Live { entry: &'e Entry, stamp: Stamp, stale: bool },
    /// There is none.
    Absent,
    /// Others may know more.
    Nothing,
}

/// What `entry` says. Its only owner need not ask anybody; one of several owners must if it knows nothing, or less than the
/// client has seen.
fn known<'e>(place: Place, wall: Wall, at_least: Option<Version>, entry: Option<&'e Entry>) -> Known<'e> {
    let Some(entry) = entry else {
        return if place == Place::Sole { Known::Absent } else { Known::Nothing };
    };
    let stamp = entry.stamp();
    let stale = at_least.is_some_and(|least| stamp.version < least);
    match (stale && place != Place::Sole, stamp.is_absent_at(wall.as_millis())) {
        (true, _) => Known::Nothing,
        (false, true) => Known::Absent,
        (false, false) => Known::Live { entry, stamp, stale },
    }
}

/// From when on an entry reads as absent that was written, or changed, with this version.
pub(super) fn expires_at(version: Version, expiry: Expiry) -> u64 {
    let lifetime = expiry.duration().map_or(store::Expiry::Never, store::Expiry::After);
    lifetime.expires_at_ms(Wall::from_millis(version.hlc.millis()))
}

/// Checks that a write which goes on is one of the kind that it was.
pub(super) fn check_again(again: Option<Stamp>, kind: EntryKind) -> Result<(), Refusal> {
    match again {
        Some(stamp) if stamp.kind != kind => {
            let text = "a write that goes on must be what it was begun as".into();
            Err(Refusal { code: ErrorCode::Protocol, argument: 0, text })
        }
        Some(_) | None => Ok(()),
    }
}

pub(super) fn check_keyspace(keyspace: KeyspaceId) -> Result<(), Refusal> {
    if keyspace == KeyspaceId::DEFAULT {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::UnknownKeyspace, keyspace.value().into()))
}

pub(super) fn bad_key(error: DecodeError) -> Refusal {
    Refusal { code: ErrorCode::KeyInvalid, argument: limits::KEY_BYTES_MAX as u64, text: error.to_string() }
}
