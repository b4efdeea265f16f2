//! Every size limit of the wire, in bytes unless the name says otherwise. Each is checked before memory is allocated.

/// Longest key. The shortest is one byte.
pub const KEY_BYTES_MAX: usize = 1024;

/// Longest value a node accepts unless configured otherwise.
pub const VALUE_BYTES_DEFAULT: usize = 1024 * 1024;

/// Longest value any configuration can allow.
pub const VALUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Longest value that travels on a shared lane. A larger one gets a stream of its own, so that it delays nobody.
pub const LANE_VALUE_BYTES_MAX: usize = 64 * 1024;

/// Room for the postcard header in front of a value: keyspace, level, times, key length, key, stamp.
pub const REQUEST_HEADER_BYTES_MAX: usize = KEY_BYTES_MAX + 96;

/// Room for the postcard header in front of a value that is answered: version, stamp.
pub const REPLY_HEADER_BYTES_MAX: usize = 64;

/// Longest frame body on a lane.
pub const LANE_BODY_BYTES_MAX: usize = LANE_VALUE_BYTES_MAX + REQUEST_HEADER_BYTES_MAX;

/// Longest `Hello` and `HelloAck`.
pub const HELLO_BYTES_MAX: usize = 512;

/// Longest encoded view. No valid view is longer: with the longest names, addresses and reasons, and every zone about to
/// change, the most members are 6 MB; the most tokens, and all others about to take their places, are 1.5 MB more.
pub const VIEW_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Longest message between nodes: the largest carries a view.
pub const PEER_MESSAGE_BYTES_MAX: usize = VIEW_BYTES_MAX + 1024;

/// Longest refusal: a code, a number and a sentence.
pub const REFUSAL_BYTES_MAX: usize = 1024;

/// Most members in one view.
pub const MEMBERS_MAX: usize = 10_000;

/// Most voters in one view.
pub const VOTERS_MAX: usize = 7;

/// Most vnodes of one member.
pub const VNODES_MAX: u32 = 4096;

/// Most vnodes of all members together: building the ring takes some 40 bytes for each.
pub const TOKENS_MAX: u32 = 4 * 1024 * 1024;

/// Most vnodes of all members together where a view tells the tokens: of 2,000 nodes with 128 each, or 16,000 with 16. A token
/// is two bytes of a view, three at most, and there are twice as many while the ring changes.
pub const TOKENS_ASSIGNED_MAX: u32 = 256 * 1024;

/// Most owners of one slot, unless every node is to own all: [`REPLICATION_ALL`].
pub const REPLICATION_MAX: u8 = 7;

/// In place of a number of owners: every node owns every slot.
pub const REPLICATION_ALL: u8 = u8::MAX;

/// Entries of one answer in the background take about this many bytes at most, and one entry more.
pub const TRANSFER_PAGE_BYTES: usize = 256 * 1024;

/// Longest body of a background request or answer: a full page, one entry of the longest, and what stands in front.
pub const TRANSFER_BODY_BYTES_MAX: usize = TRANSFER_PAGE_BYTES + VALUE_BYTES_MAX + KEY_BYTES_MAX + 64 * 1024;

/// Most slots that one background request may ask about one by one.
pub const TRANSFER_SLOTS_MAX: usize = 4096;

/// Most entries that one background request may name.
pub const TRANSFER_HANDLES_MAX: usize = 4096;

/// Requests a client keeps in flight on one lane; one more fails at once as `Busy`.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 1024;

/// Most reasons that one view tells.
pub const CHANGES_MAX: usize = 1024;

/// Most members that one heartbeat names as silent, and most that it names as returned. It must fit into one datagram.
pub const SUSPECTS_MAX: usize = 90;

/// Most members that one heartbeat names as slow. Only voters are asked for an answer, and whoever finds most of them slow
/// names none.
pub const SLOW_MAX: usize = 8;

/// Longest heartbeat, which fits into any QUIC datagram.
pub const HEARTBEAT_BYTES_MAX: usize = 1100;

/// Longest request of an administrator.
pub const ADMIN_REQUEST_BYTES_MAX: usize = 1024;

/// Longest answer to an administrator: the largest carries a view.
pub const ADMIN_REPLY_BYTES_MAX: usize = VIEW_BYTES_MAX + 1024;

/// Most nodes that a node names as those it hands slots to, or takes them from.
pub const HANDOFF_PEERS_MAX: usize = 256;

/// Most views of the past that a node tells.
pub const VIEW_LOG_MAX: usize = 1024;
