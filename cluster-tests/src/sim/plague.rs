//! What befalls a cluster.

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plague {
    /// A process ends without a word, and another one starts.
    Crash,
    /// The coordinator's does.
    CoordinatorCrash,
    /// All end at once.
    PowerLoss,
    /// Each ends in turn, several times in a row.
    RestartStorm,
    /// A process is asked to stop, and another one starts.
    GracefulRestart,
    /// A process is stopped for milliseconds to seconds, and goes on.
    Pause,
    /// For up to minutes.
    LongPause,
    /// The coordinator's is stopped.
    CoordinatorPause,
    /// All are, at the same time.
    PauseOfAll,
    /// Two sides do not reach each other.
    Partition,
    /// One side does not hear the other, which hears it.
    OneWay,
    /// One link carries nothing.
    BadLink,
    /// One link carries nothing in one direction.
    BadDirection,
    /// Each host reaches its neighbours only.
    Chain,
    /// All reach one host only.
    Hub,
    /// A link comes and goes.
    Flapping,
    /// Links stop one by one and come back in another order.
    Swizzle,
    /// Nobody reaches the coordinator, nor it anybody.
    CoordinatorIsolated,
    /// The coordinator hears nobody.
    CoordinatorDeaf,
    /// A clock jumps ahead.
    ClockJump,
    /// A disk is lost with all that is on it.
    Wipe,
    /// A host gets another address.
    Move,
    /// A host that was not started is.
    Join,
    /// A member is told to leave.
    Drain,
    /// A member is removed.
    ForceOut,
    /// The office is handed over.
    Transfer,
    /// A host that has left is started again.
    Return,
    /// Another number of copies is wanted.
    Copies,
    /// A member is given another weight.
    Weight,
}

impl Plague {
    /// Every kind that needs no data.
    pub const ALL: [Self; 27] = [
        Self::Crash,
        Self::CoordinatorCrash,
        Self::PowerLoss,
        Self::RestartStorm,
        Self::GracefulRestart,
        Self::Pause,
        Self::LongPause,
        Self::CoordinatorPause,
        Self::PauseOfAll,
        Self::Partition,
        Self::OneWay,
        Self::BadLink,
        Self::BadDirection,
        Self::Chain,
        Self::Hub,
        Self::Flapping,
        Self::Swizzle,
        Self::CoordinatorIsolated,
        Self::CoordinatorDeaf,
        Self::ClockJump,
        Self::Wipe,
        Self::Move,
        Self::Join,
        Self::Drain,
        Self::ForceOut,
        Self::Transfer,
        Self::Return,
    ];

    /// What it is called in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::CoordinatorCrash => "coordinator crash",
            Self::PowerLoss => "power loss",
            Self::RestartStorm => "restart storm",
            Self::GracefulRestart => "graceful restart",
            Self::Pause => "pause",
            Self::LongPause => "long pause",
            Self::CoordinatorPause => "coordinator pause",
            Self::PauseOfAll => "pause of all",
            Self::Partition => "partition",
            Self::OneWay => "one-way partition",
            Self::BadLink => "bad link",
            Self::BadDirection => "one-way link",
            Self::Chain => "chain",
            Self::Hub => "hub",
            Self::Flapping => "flapping",
            Self::Swizzle => "swizzle",
            Self::CoordinatorIsolated => "coordinator isolated",
            Self::CoordinatorDeaf => "coordinator deaf",
            Self::ClockJump => "clock jump",
            Self::Wipe => "wiped disk",
            Self::Move => "moved host",
            Self::Join => "join",
            Self::Drain => "drain",
            Self::ForceOut => "force out",
            Self::Transfer => "transfer",
            Self::Return => "return",
            Self::Copies => "copies",
            Self::Weight => "weight",
        }
    }
}
