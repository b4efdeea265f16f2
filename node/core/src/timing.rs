//! How soon silence counts: every wait of the control plane, by profile.

use std::time::Duration;

use quoit_proto_types::view::TimingProfile;

/// The waits of one profile. Safety depends on none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two heartbeats of a member. Shorter notices sooner and costs more datagrams: members × voters in each.
    pub heartbeat: Duration,
    /// Silence after which a member is suspected and the coordinator missed: five heartbeats or more.
    pub suspect: Duration,
    /// A round trip with a voter counts as a connection for this long.
    pub quorum_fresh: Duration,
    /// Between the candidacies of two voters who are next to each other in rank, so that the first is usually alone.
    pub stagger: Duration,
    /// Longest random addition to a voter's turn.
    pub jitter: Duration,
    /// How long a candidate waits for its superiors once it has a majority.
    pub answer: Duration,
    /// How long a candidate waits for a majority. Longer than the slowest answer of a network that is only slow.
    pub candidacy: Duration,
    /// How long a candidate waits for a superior to take office.
    pub yielding: Duration,
    /// How long a proposer waits for a majority.
    pub phase: Duration,
    /// Mean pause after the first candidacy that failed. Doubles with each, three times.
    pub backoff: Duration,
    /// For how long a superior that did not take office is ignored.
    pub ignore: Duration,
    /// A member that is down must be heard for this long before it is up. Doubles with each flap within ten minutes.
    pub stable: Duration,
    /// A tick this late shows that the observer is sick, not the world.
    pub late: Duration,
    /// A round trip up to this long is never slow, however quick the others are: a busy processor or a packet sent again makes
    /// as much. In a wide network some members are far away, and are no slower for it.
    pub slow: Duration,
    /// A voter that is down for this long is replaced, if another member can vote.
    pub voter_replace: Duration,
    /// Joins and leaves that arrive within this time share one ring change.
    pub batch: Duration,
    /// A ring change that cannot go on is given up after this time.
    pub patience: Duration,
    /// Between two requests of a node that wants to join.
    pub rejoin: Duration,
}

impl Timing {
    /// The waits of `profile`.
    pub const fn of(profile: TimingProfile) -> Self {
        const fn ms(millis: u64) -> Duration {
            Duration::from_millis(millis)
        }
        let lan = Self {
            heartbeat: ms(200),
            suspect: ms(1_000),
            quorum_fresh: ms(1_000),
            stagger: ms(100),
            jitter: ms(50),
            answer: ms(60),
            candidacy: ms(400),
            yielding: ms(500),
            phase: ms(600),
            backoff: ms(150),
            ignore: ms(60_000),
            stable: ms(3_000),
            late: ms(200),
            slow: ms(50),
            voter_replace: ms(30_000),
            batch: ms(1_000),
            patience: ms(60_000),
            rejoin: ms(500),
        };
        match profile {
            TimingProfile::Lan => lan,
            TimingProfile::Fast => {
                Self { heartbeat: ms(100), suspect: ms(500), quorum_fresh: ms(500), late: ms(100), ..lan }
            }
            TimingProfile::Wan => Self {
                heartbeat: ms(500),
                suspect: ms(3_000),
                quorum_fresh: ms(3_000),
                stagger: ms(400),
                jitter: ms(200),
                answer: ms(300),
                candidacy: ms(1_500),
                yielding: ms(2_000),
                phase: ms(2_500),
                backoff: ms(600),
                late: ms(500),
                slow: ms(300),
                rejoin: ms(1_000),
                ..lan
            },
        }
    }
}

#[cfg(test)]
mod tests;
