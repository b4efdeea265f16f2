//! How large packets may be, and how many of them go into one call.
//!
//! Each packet costs its own protection and bookkeeping on either side, so fewer and larger ones are cheaper: with 6,500 bytes a
//! node needs a third less of its processor for an answer of 100 than with 1,452. Every connection finds out by itself what
//! its path carries (DPLPMTUD, RFC 8899), by packets that may be lost, up to a bound: what Ethernet carries, unless the user
//! says more, and what suits within a machine, where TCP uses packets of 64 KiB.

use std::{net::SocketAddr, ops::RangeInclusive};

use quinn::MtuDiscoveryConfig;

/// What a network of 1,500 bytes carries over IPv6, and every other one that is in use.
const ETHERNET: u16 = 1_452;
/// Between processes of one machine. Ten of them, as many as quinn hands over at once, still are one call.
const LOOPBACK: u16 = 6_500;
/// What QUIC takes for granted, and more than any network carries that is in use: four of them still are one call, which is the
/// most that connections with smaller ones hand over at once as well.
const MIN: u16 = 1_200;
const MAX: u16 = 16_000;
/// What one call takes at most: a UDP datagram over IPv4, before it is cut into packets.
const CALL: usize = 65_507;

/// The largest packet that is looked for between machines, in bytes of its UDP payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketBytes(u16);

impl PacketBytes {
    /// The least and the most that may be looked for.
    pub const RANGE: RangeInclusive<u16> = MIN..=MAX;

    /// As many bytes; `None` beyond [`RANGE`](Self::RANGE).
    pub fn new(bytes: u16) -> Option<Self> {
        Self::RANGE.contains(&bytes).then_some(Self(bytes))
    }

    /// As many bytes, or the nearest that may be.
    pub fn nearest(bytes: u16) -> Self {
        Self(bytes.clamp(MIN, MAX))
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }

    /// How a connection with `remote` looks for what its path carries.
    pub(crate) fn discovery(self, remote: SocketAddr) -> MtuDiscoveryConfig {
        let mut discovery = MtuDiscoveryConfig::default();
        discovery.upper_bound(self.towards(remote));
        discovery
    }

    /// The largest packet that is looked for on the way to `remote`.
    pub(crate) fn towards(self, remote: SocketAddr) -> u16 {
        if is_on_this_machine(remote) { self.largest() } else { self.0 }
    }

    /// The largest packet that any connection sends or is sent.
    pub(crate) fn largest(self) -> u16 {
        self.0.max(LOOPBACK)
    }

    /// How many packets are handed over at once, of as many as the kernel takes apart. More bytes than a call takes would be
    /// refused, and dropped: the connection would crawl from one timeout to the next.
    pub(crate) fn sent_at_once(self, kernel: usize) -> usize {
        kernel.min(CALL / usize::from(self.largest()))
    }

    /// How many packets are taken at once, of as many as the kernel puts together: quinn makes room for so many of the largest.
    pub(crate) fn received_at_once(self, kernel: usize) -> usize {
        kernel.min(CALL.div_ceil(usize::from(self.largest())) + 1)
    }
}

impl Default for PacketBytes {
    fn default() -> Self {
        Self(ETHERNET)
    }
}

/// Whether what is sent to `remote` stays within the machine, as far as its address tells.
pub fn is_on_this_machine(remote: SocketAddr) -> bool {
    remote.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_larger_within_a_machine_only() {
        let within = ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"];
        let beyond = ["10.0.0.1:1", "[2001:db8::1]:1", "[::ffff:10.0.0.1]:1"];
        assert!(within.iter().all(|it| is_on_this_machine(it.parse().unwrap())));
        assert!(!beyond.iter().any(|it| is_on_this_machine(it.parse().unwrap())));
    }

    #[test]
    fn only_what_a_datagram_carries_can_be_looked_for() {
        assert_eq!(PacketBytes::new(1_199), None);
        assert_eq!(PacketBytes::new(16_001), None);
        assert_eq!(PacketBytes::new(8_972).map(PacketBytes::get), Some(8_972));
        assert_eq!([0, 9_000, u16::MAX].map(|bytes| PacketBytes::nearest(bytes).get()), [1_200, 9_000, 16_000]);
    }

    #[test]
    fn what_is_handed_over_at_once_is_no_more_than_one_call_takes() {
        // quinn sends ten at once.
        let sent = |bytes| PacketBytes::nearest(bytes).sent_at_once(64).min(10);
        assert_eq!([1_452, 6_550, 8_972, 16_000].map(sent), [10, 10, 7, 4]);
        assert_eq!(PacketBytes::default().sent_at_once(1), 1);
        // There is room for the most that the kernel puts together.
        for bytes in [1_452, 8_972, 16_000] {
            let packets = PacketBytes::nearest(bytes);
            assert!(packets.received_at_once(64) * usize::from(packets.largest()) > CALL);
        }
    }
}
