//! Several copies of every key, on real nodes in this process: whichever node is asked, and whichever is gone.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    num::NonZeroU64,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use quinn::{Endpoint, RecvStream, SendStream};
use quoit_certs::{Authority, CertsDir, Identity, Overwrite, Role as CertRole};
use quoit_client::{
    CertificateFiles, Client, ClientConfig, Role, View,
    dial::{self, Dialled, Target},
    frames::read_frame,
    packets::PacketBytes,
};
use quoit_node::{
    Network, NodeHandle, NodeState,
    config::{Config, Settings},
};
use quoit_proto_types::{
    Epoch, ErrorCode, Fence, HashPoint, Hlc, KeyspaceId, ReadLevel, RequestId, Stamp, Version, WriteLevel, codec,
    frame::{FrameHeader, FrameType},
    limits,
    message::{
        client::{Expiry, ReadHeader, Refusal, Unfinished, ValueHeader, WriteHeader, Written},
        session::Hello,
    },
};
use tempfile::TempDir;
use tokio::time::{interval, timeout};

/// Longer than anything takes that works at all.
const PATIENCE: Duration = Duration::from_secs(60);

struct Cluster {
    folder: TempDir,
    authority: Authority,
    seeds: Vec<String>,
    nodes: Vec<NodeHandle>,
}

impl Cluster {
    /// Forms a cluster of n1 to n`count` that keeps `copies` of every key.
    async fn start(count: usize, copies: u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = CertsDir::create(folder.path()).unwrap().init(None, None, SystemTime::now(), Overwrite::Keep);
        let authority = made.unwrap().authority;
        let networks: Vec<_> = (0..count).map(|_| Network::udp("127.0.0.1:0".parse().unwrap()).unwrap()).collect();
        let seeds = networks.iter().map(|network| network.socket.local_addr().unwrap().to_string()).collect();
        let mut cluster = Self { folder, authority, seeds, nodes: Vec::new() };
        for (index, network) in networks.into_iter().enumerate() {
            let mut settings = Settings::new(cluster.files(CertRole::Node, &format!("n{}", index + 1)));
            settings.seeds = cluster.seeds.iter().map(|seed| seed.parse().unwrap()).collect();
            settings.replication = copies;
            let node = NodeHandle::start_on(Config::try_from(settings).unwrap(), network).await.unwrap();
            cluster.nodes.push(node);
        }
        let members = count.min(usize::from(copies));
        for node in &mut cluster.nodes {
            view_where(node, |view| view.fields().target.is_none() && usize::from(view.fields().copies) == members)
                .await;
        }
        cluster
    }

    fn files(&self, role: CertRole, name: &str) -> CertificateFiles {
        let identity = Identity::new(role, name.parse().unwrap(), self.authority.cluster().clone());
        let certs = CertsDir::open(self.folder.path()).unwrap();
        certs.issue(&self.authority, &identity, &[], None, SystemTime::now(), Overwrite::Keep).unwrap();
        CertificateFiles::in_folder(self.folder.path().join(name))
    }

    async fn client(&self) -> Client {
        let config = ClientConfig::new(self.files(CertRole::Client, "client"), &self.seeds).unwrap();
        Client::connect(config.request_timeout(PATIENCE).connect_timeout(PATIENCE)).await.unwrap()
    }

    /// A session with one node, which is asked whatever its place is.
    async fn session(&self, index: usize) -> Session {
        let tls = self.files(CertRole::Client, "client").load().unwrap().dialler(Role::Client);
        let server_name = format!("node.{}.quoit.internal", self.authority.cluster());
        let address = self.nodes[index].local_address();
        let target = Target { address, server_name, role: Role::Client, packets: PacketBytes::default() };
        let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let dialled = dial::dial(&endpoint, tls, &target, &Hello { node: None }, PATIENCE).await.unwrap();
        let lane = dialled.connection.open_bi().await.unwrap();
        Session { dialled, lane, next: 0, _endpoint: endpoint }
    }

    async fn sessions(&self) -> Vec<Session> {
        let mut sessions = Vec::new();
        for index in 0..self.nodes.len() {
            sessions.push(self.session(index).await);
        }
        sessions
    }

    /// The names of the owners of `key`, the primary first.
    fn owners(&self, key: &str) -> Vec<String> {
        let NodeState::Member(view) = self.nodes[0].state() else { panic!("no member") };
        let ring = view.ring();
        let slot = ring.slots().slot_of(HashPoint::of_key(KeyspaceId::DEFAULT, key.as_bytes()));
        ring.owners(slot).iter().map(|owner| view.member(*owner).unwrap().name.to_string()).collect()
    }

    /// A key that `owner` owns as its primary.
    fn key_of(&self, owner: &str) -> String {
        (0..).map(|i| format!("of:{owner}:{i}")).find(|key| self.owners(key)[0] == owner).unwrap()
    }

    async fn stop(self) {
        for node in self.nodes {
            node.shutdown().await;
        }
    }
}

async fn view_where(node: &mut NodeHandle, condition: impl Fn(&View) -> bool) -> Arc<View> {
    let waiting = async {
        loop {
            match node.state() {
                NodeState::Member(view) if condition(&view) => return view,
                NodeState::Member(_) | NodeState::Waiting(_) => {}
                state @ (NodeState::Failed(_) | NodeState::Stopped { .. }) => panic!("{state:?}"),
            }
            node.state_changed().await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("the view came in time")
}

/// Speaks the protocol with one node: one request at a time, and no second attempt.
struct Session {
    dialled: Dialled,
    lane: (SendStream, RecvStream),
    next: u64,
    _endpoint: Endpoint,
}

#[derive(Debug, PartialEq)]
enum Answer {
    Value { version: Version, stale: bool, value: Bytes },
    Done(Written),
    Remaining(Expiry),
    Miss,
    Unfinished(Unfinished),
    Refused(ErrorCode),
}

impl Answer {
    fn written(self) -> Written {
        let Self::Done(written) = self else { panic!("{self:?}") };
        written
    }

    fn unfinished(self) -> Unfinished {
        let Self::Unfinished(unfinished) = self else { panic!("{self:?}") };
        unfinished
    }

    fn value(&self) -> Option<&[u8]> {
        match self {
            Self::Value { value, .. } => Some(value),
            Self::Miss => None,
            Self::Done(_) | Self::Remaining(_) | Self::Unfinished(_) | Self::Refused(_) => panic!("{self:?}"),
        }
    }

    fn of(header: FrameHeader, body: &[u8]) -> Self {
        if header.kind == FrameType::Value {
            let (ValueHeader { version, stale }, value) = codec::decode_prefix(body, "value").unwrap();
            Self::Value { version, stale, value: Bytes::copy_from_slice(value) }
        } else if header.kind == FrameType::Done {
            Self::Done(codec::decode_prefix(body, "done").unwrap().0)
        } else if header.kind == FrameType::Remaining {
            Self::Remaining(codec::decode_prefix(body, "remaining").unwrap().0)
        } else if header.kind == FrameType::Miss {
            Self::Miss
        } else if header.kind == FrameType::Unfinished {
            Self::Unfinished(codec::decode_prefix(body, "unfinished").unwrap().0)
        } else {
            assert_eq!(header.kind, FrameType::Refusal);
            Self::Refused(Refusal::decode(body).unwrap().code)
        }
    }
}

fn read(level: ReadLevel, at_least: Option<Version>, key: &str) -> ReadHeader<'_> {
    ReadHeader { keyspace: KeyspaceId::DEFAULT, level, at_least, key: key.as_bytes() }
}

fn write(level: WriteLevel, expiry: Expiry, key: &str) -> WriteHeader<'_> {
    WriteHeader { keyspace: KeyspaceId::DEFAULT, level, after: Hlc::MIN, expiry, again: None, key: key.as_bytes() }
}

impl Session {
    fn frame(&mut self, kind: FrameType, body: impl FnOnce(&mut BytesMut)) -> BytesMut {
        self.next += 1;
        let mut frame = BytesMut::new();
        // Every client's view is old to somebody: what it goes by must not matter.
        let header = FrameHeader::new(kind, RequestId::new(self.next), Fence::new(0), Epoch::GENESIS);
        let deadline_ms = u32::try_from(PATIENCE.as_millis()).unwrap();
        FrameHeader { deadline_ms, ..header }.encode_with(&mut frame, 0, body);
        frame
    }

    async fn ask(&mut self, kind: FrameType, body: impl FnOnce(&mut BytesMut)) -> Answer {
        let frame = self.frame(kind, body);
        self.lane.0.write_all(&frame).await.unwrap();
        let reading = async {
            tokio::select! {
                reply = read_frame(&mut self.lane.1, limits::LANE_BODY_BYTES_MAX) => reply.unwrap(),
                stream = self.dialled.connection.accept_uni() => {
                    read_frame(&mut stream.unwrap(), FrameType::Value.body_bytes_max()).await.unwrap()
                }
            }
        };
        let (header, body) = timeout(PATIENCE, reading).await.expect("an answer");
        assert_eq!(header.request, RequestId::new(self.next));
        Answer::of(header, &body)
    }

    async fn get(&mut self, key: &str) -> Answer {
        self.ask(FrameType::Get, |out| read(ReadLevel::One, None, key).encode(out)).await
    }

    async fn get_with(&mut self, level: ReadLevel, at_least: Version, key: &str) -> Answer {
        self.ask(FrameType::Get, |out| read(level, Some(at_least), key).encode(out)).await
    }

    async fn set(&mut self, level: WriteLevel, key: &str, value: &str) -> Answer {
        self.set_for(level, Expiry::Never, key, value).await
    }

    async fn set_for(&mut self, level: WriteLevel, expiry: Expiry, key: &str, value: &str) -> Answer {
        let body = |out: &mut BytesMut| {
            write(level, expiry, key).encode(out);
            out.extend_from_slice(value.as_bytes());
        };
        self.ask(FrameType::Set, body).await
    }

    /// Carries on a write of `value`, or of none, that was begun as `stamp`.
    async fn carry_on(&mut self, level: WriteLevel, stamp: Stamp, key: &str, value: Option<&str>) -> Answer {
        let kind = if value.is_some() { FrameType::Set } else { FrameType::Delete };
        let header = WriteHeader { again: Some(stamp), ..write(level, Expiry::Never, key) };
        let body = |out: &mut BytesMut| {
            header.encode(out);
            out.extend_from_slice(value.unwrap_or_default().as_bytes());
        };
        self.ask(kind, body).await
    }

    /// Writes a large value, on a stream of its own.
    async fn set_large(&mut self, key: &str, value: &[u8]) -> Answer {
        let frame = self.frame(FrameType::Set, |out| {
            write(WriteLevel::All, Expiry::Never, key).encode(out);
            out.extend_from_slice(value);
        });
        let (mut send, mut recv) = self.dialled.connection.open_bi().await.unwrap();
        send.write_all(&frame).await.unwrap();
        send.finish().unwrap();
        let (header, body) = read_frame(&mut recv, limits::LANE_BODY_BYTES_MAX).await.unwrap();
        Answer::of(header, &body)
    }

    async fn delete(&mut self, level: WriteLevel, key: &str) -> Answer {
        self.ask(FrameType::Delete, |out| write(level, Expiry::Never, key).encode(out)).await
    }

    async fn touch(&mut self, key: &str, expiry: Expiry) -> Answer {
        self.ask(FrameType::Touch, |out| write(WriteLevel::All, expiry, key).encode(out)).await
    }

    async fn ttl(&mut self, key: &str) -> Answer {
        self.ask(FrameType::TimeToLive, |out| read(ReadLevel::One, None, key).encode(out)).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_at_two_outlives_any_one_node() {
    for lost in 0..3 {
        let mut cluster = Cluster::start(3, 2).await;
        let client = cluster.client().await;
        let keys: Vec<String> = (0..300).map(|i| format!("key:{i}")).collect();
        for key in &keys {
            client.set(key, format!("value of {key}")).await.unwrap();
        }
        drop(cluster.nodes.remove(lost));
        for key in &keys {
            let value = client.get(key).await.unwrap();
            assert_eq!(value.as_deref(), Some(format!("value of {key}").as_bytes()), "{key} without n{}", lost + 1);
        }
        // And what is written from here on has its two copies among the others.
        for key in &keys[..50] {
            client.set(key, "anew").await.unwrap();
            assert_eq!(client.get(key).await.unwrap().as_deref(), Some(&b"anew"[..]), "{key}");
        }
        cluster.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_coordinates_any_request() {
    let cluster = Cluster::start(3, 2).await;
    let mut sessions = cluster.sessions().await;
    for writer in 0..3 {
        for owner in ["n1", "n2", "n3"] {
            let key = format!("{}:{writer}", cluster.key_of(owner));
            let first = sessions[writer].set(WriteLevel::All, &key, "first").await.written();
            assert!(!first.existed, "{key}");
            let second = sessions[writer].set(WriteLevel::All, &key, "second").await.written();
            assert!(second.existed && second.version > first.version, "{key}");
            for session in &mut sessions {
                let found = session.get(&key).await;
                let value = Bytes::from_static(b"second");
                assert_eq!(found, Answer::Value { version: second.version, stale: false, value }, "{key}");
                assert_eq!(session.ttl(&key).await, Answer::Remaining(Expiry::Never), "{key}");
            }
            let hour = Expiry::after(Duration::from_secs(3600));
            let touched = sessions[writer].touch(&key, hour).await.written();
            assert_eq!(touched.version, second.version, "a touch is no new version of {key}");
            for session in &mut sessions {
                assert!(matches!(session.ttl(&key).await, Answer::Remaining(Expiry::After(_))), "{key}");
            }
            assert!(sessions[writer].delete(WriteLevel::All, &key).await.written().existed, "{key}");
            for session in &mut sessions {
                assert_eq!(session.get(&key).await, Answer::Miss, "{key}");
                assert_eq!(session.touch(&key, hour).await, Answer::Miss, "{key}");
            }
            assert!(!sessions[writer].delete(WriteLevel::All, &key).await.written().existed, "{key}");
        }
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_at_once_are_each_answered_once() {
    let cluster = Cluster::start(3, 2).await;
    let mut session = cluster.session(0).await;
    let mut frames = BytesMut::new();
    for index in 0..1000 {
        let key = format!("key:{index}");
        frames.extend_from_slice(&session.frame(FrameType::Set, |out| {
            write(WriteLevel::All, Expiry::Never, &key).encode(out);
            out.extend_from_slice(key.as_bytes());
        }));
    }
    session.lane.0.write_all(&frames).await.unwrap();
    let mut answered = Vec::new();
    for _ in 0..1000 {
        let reading = read_frame(&mut session.lane.1, limits::LANE_BODY_BYTES_MAX);
        let (header, body) = timeout(PATIENCE, reading).await.expect("an answer").unwrap();
        Answer::of(header, &body).written();
        answered.push(header.request.value());
    }
    answered.sort_unstable();
    assert_eq!(answered, (1..=1000).collect::<Vec<_>>());
    for index in (0..1000).step_by(97) {
        let key = format!("key:{index}");
        assert_eq!(session.get(&key).await.value(), Some(key.as_bytes()));
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expires_does_so_at_every_node() {
    let cluster = Cluster::start(3, 2).await;
    let mut sessions = cluster.sessions().await;
    let key = cluster.key_of("n2");
    let moment = Expiry::After(NonZeroU64::new(300).unwrap());
    sessions[0].set_for(WriteLevel::All, moment, &key, "briefly").await.written();
    let mut tick = interval(Duration::from_millis(20));
    for session in &mut sessions {
        let gone = async {
            while session.get(&key).await != Answer::Miss {
                tick.tick().await;
            }
        };
        timeout(PATIENCE, gone).await.expect("it expires");
        assert_eq!(session.ttl(&key).await, Answer::Miss);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_says_whether_it_is_as_new_as_what_the_client_has_seen() {
    let cluster = Cluster::start(3, 2).await;
    let mut sessions = cluster.sessions().await;
    let key = cluster.key_of("n1");
    let Written { version, .. } = sessions[2].set(WriteLevel::All, &key, "value").await.written();
    let later = Version { hlc: version.hlc.next(), ..version };
    for session in &mut sessions {
        for level in ReadLevel::ALL {
            for (at_least, is_stale) in [(version, false), (later, true)] {
                let found = session.get_with(level, at_least, &key).await;
                let value = Bytes::from_static(b"value");
                assert_eq!(found, Answer::Value { version, stale: is_stale, value }, "{level}");
            }
        }
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_levels_ask_for_what_they_say_when_an_owner_is_gone() {
    let mut cluster = Cluster::start(3, 2).await;
    let key = cluster.key_of("n3");
    let missing = (0..).map(|i| format!("missing:{i}")).find(|key| cluster.owners(key)[0] == "n3").unwrap();
    let mut sessions = [cluster.session(0).await, cluster.session(1).await];
    sessions[0].set(WriteLevel::All, &key, "before").await.written();
    drop(cluster.nodes.remove(2));
    for session in &mut sessions {
        for level in [WriteLevel::All, WriteLevel::Quorum] {
            // Of two owners the majority is both.
            let held = session.set(level, &key, "lost").await.unfinished().held;
            assert!(held <= 1, "{level}: {held}");
        }
        for level in [WriteLevel::Any, WriteLevel::One, WriteLevel::Two] {
            session.set(level, &key, level.name()).await.written();
            assert_eq!(session.get(&key).await.value(), Some(level.name().as_bytes()), "{level}");
        }
        assert_eq!(session.get(&missing).await, Answer::Miss);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_stuck_is_carried_on_by_another_node_as_the_same_write() {
    let mut cluster = Cluster::start(3, 2).await;
    let key = cluster.key_of("n3");
    let mut sessions = [cluster.session(0).await, cluster.session(1).await];
    drop(cluster.nodes.remove(2));
    let stuck = sessions[0].set(WriteLevel::All, &key, "stuck").await.unfinished();
    let done = sessions[1].carry_on(WriteLevel::Two, stuck.stamp, &key, Some("stuck")).await.written();
    assert_eq!(done.version, stuck.stamp.version);
    // What somebody else has written meanwhile is later, and stays.
    let later = sessions[1].set(WriteLevel::Two, &key, "later").await.written();
    assert!(later.version > done.version);
    sessions[0].carry_on(WriteLevel::Two, stuck.stamp, &key, Some("stuck")).await.written();
    for session in &mut sessions {
        assert_eq!(session.get(&key).await.value(), Some(&b"later"[..]));
    }
    let deletion = sessions[0].carry_on(WriteLevel::Two, stuck.stamp, &key, None).await;
    assert_eq!(deletion, Answer::Refused(ErrorCode::Protocol), "a value was written, not deleted");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_every_owner_gone_any_is_kept_for_them_and_read_from_there() {
    let mut cluster = Cluster::start(3, 1).await;
    let key = cluster.key_of("n3");
    let mut sessions = [cluster.session(0).await, cluster.session(1).await];
    drop(cluster.nodes.remove(2));
    assert_eq!(sessions[0].set(WriteLevel::One, &key, "value").await.unfinished().held, 0);
    sessions[0].set(WriteLevel::Any, &key, "kept").await.written();
    for session in &mut sessions {
        assert_eq!(session.get(&key).await.value(), Some(&b"kept"[..]));
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_values_are_replicated_and_read_through_any_node() {
    let mut cluster = Cluster::start(3, 2).await;
    let mut sessions = cluster.sessions().await;
    let mut keys = Vec::new();
    for (index, session) in sessions.iter_mut().enumerate() {
        for bytes in [limits::LANE_VALUE_BYTES_MAX, limits::LANE_VALUE_BYTES_MAX + 1, 500_000] {
            let (key, value) = (format!("large:{index}:{bytes}"), vec![u8::try_from(index).unwrap(); bytes]);
            if bytes > limits::LANE_VALUE_BYTES_MAX {
                session.set_large(&key, &value).await.written();
            } else {
                session.set(WriteLevel::All, &key, std::str::from_utf8(&value).unwrap()).await.written();
            }
            keys.push((key, value));
        }
    }
    for session in &mut sessions {
        for (key, value) in &keys {
            assert!(session.get(key).await.value() == Some(&value[..]), "{key}");
        }
    }
    drop(cluster.nodes.remove(0));
    for session in &mut sessions[1..] {
        for (key, value) in &keys {
            assert!(session.get(key).await.value() == Some(&value[..]), "{key}, without one of its owners maybe");
        }
    }
    cluster.stop().await;
}
