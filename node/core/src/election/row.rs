//! The rows of the state table, counted, so that a test can tell which of them a simulation has taken.

/// Declares the rows, each with the words that a report shows.
macro_rules! rows {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)+) => {
        /// A row of the election's state table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Row { $($(#[$doc])* $name,)+ }

        impl Row {
            /// Every row.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The row in words.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

rows! {
    /// A follower heard nobody for its time.
    FollowerStands = "follower: silence -> candidate";
    /// A follower with a fresh coordinator was asked.
    AliveAnswered = "follower: elect, coordinator fresh -> alive";
    /// A lower rank asked.
    HigherAnswered = "follower: elect from a lower rank -> higher, candidate";
    /// Anybody else asked.
    Granted = "follower: elect -> grant";
    /// Somebody has an older view.
    NewerAnswered = "any: older epoch -> newer";
    /// Somebody has a newer view.
    ViewFetched = "any: newer epoch -> fetch";
    /// A majority granted.
    CandidatePrepares = "candidate: majority -> preparing";
    /// A superior answered.
    CandidateYields = "candidate: higher -> yielding";
    /// A majority hears a coordinator.
    CandidateWithdraws = "candidate: majority alive -> follower";
    /// No majority in time.
    CandidateGivesUp = "candidate: no majority -> follower";
    /// The superior took office, or a view came.
    YieldingEnds = "yielding: coordinator or view -> follower";
    /// It did not.
    YieldingOver = "yielding: deadline -> superior ignored, candidate";
    /// Promises from a majority, one with an accepted view.
    ProposesAccepted = "preparing: majority, accepted view -> proposing it";
    /// Promises from a majority, none with a view.
    ProposesOwn = "preparing: majority -> proposing own";
    /// A higher ballot is about.
    RoundRejected = "preparing, proposing: reject -> follower";
    /// No majority in time.
    RoundTimedOut = "preparing, proposing: time over -> follower";
    /// A majority accepted the first view of a term.
    TakesOffice = "proposing: majority accepted -> coordinator";
    /// A coordinator proposes the next view.
    CoordinatorProposes = "coordinator: work -> proposes";
    /// A coordinator reached no majority.
    StepsDownWithoutQuorum = "coordinator: no quorum -> follower";
    /// A coordinator met a higher ballot, or a newer view.
    StepsDownForAnother = "coordinator: higher ballot or newer view -> follower";
    /// A voter promised a higher ballot to a candidate that failed. Beyond the published table: without it, that voter would
    /// hear no coordinator for as long as this one lasts.
    CoordinatorOutbids = "coordinator: a voter promised more -> preparing";
    /// The coordinator handed over.
    TransferTaken = "follower: transfer -> candidate";
    /// A view of a higher epoch came.
    CommitInstalled = "any: commit of a higher epoch -> install";
}

/// How often each row was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows([u64; Row::ALL.len()]);

impl Default for Rows {
    fn default() -> Self {
        Self([0; Row::ALL.len()])
    }
}

impl Rows {
    pub(crate) fn take(&mut self, row: Row) {
        self.0[row as usize] += 1;
    }

    /// How often `row` was taken.
    pub fn taken(&self, row: Row) -> u64 {
        self.0[row as usize]
    }

    /// Adds what another machine has counted.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}
