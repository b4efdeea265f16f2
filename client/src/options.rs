//! How single requests are to be carried out, where that is not as the client's configuration says.

use std::time::Duration;

use quoit_proto_types::{ReadLevel, Version, WriteLevel, message::client::Expiry};

/// How a value is stored.
///
/// ```
/// use {quoit_client::{SetOptions, WriteLevel}, std::time::Duration};
/// let for_a_minute = SetOptions::new().ttl(Duration::from_secs(60));
/// let at_a_majority = for_a_minute.level(WriteLevel::Quorum);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetOptions {
    pub(crate) expiry: Expiry,
    pub(crate) level: Option<WriteLevel>,
}

impl SetOptions {
    /// The defaults: the value stays until it is deleted or evicted, and the write is acknowledged at the client's
    /// [`write_level`](crate::ClientConfig::write_level).
    ///
    /// ```
    /// assert_eq!(quoit_client::SetOptions::new(), quoit_client::SetOptions::default());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// The value expires after `duration`, rounded up to a millisecond.
    ///
    /// ```
    /// use {quoit_client::SetOptions, std::time::Duration};
    /// let briefly = SetOptions::new().ttl(Duration::from_millis(250));
    /// ```
    #[must_use]
    pub fn ttl(mut self, duration: Duration) -> Self {
        self.expiry = Expiry::after(duration);
        self
    }

    /// How many copies are waited for.
    ///
    /// ```
    /// use quoit_client::{SetOptions, WriteLevel};
    /// let everywhere = SetOptions::new().level(WriteLevel::All);
    /// ```
    #[must_use]
    pub fn level(mut self, level: WriteLevel) -> Self {
        self.level = Some(level);
        self
    }
}

/// How a key is read.
///
/// ```
/// use quoit_client::{GetOptions, ReadLevel};
/// let newest = GetOptions::new().level(ReadLevel::Quorum);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GetOptions {
    pub(crate) level: Option<ReadLevel>,
    pub(crate) at_least: Option<Version>,
}

impl GetOptions {
    /// The defaults: whoever the client's [`read_level`](crate::ClientConfig::read_level) says is asked.
    ///
    /// ```
    /// assert_eq!(quoit_client::GetOptions::new(), quoit_client::GetOptions::default());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Whose answers are waited for.
    ///
    /// ```
    /// use quoit_client::{GetOptions, ReadLevel};
    /// let of_all = GetOptions::new().level(ReadLevel::All);
    /// ```
    #[must_use]
    pub fn level(mut self, level: ReadLevel) -> Self {
        self.level = Some(level);
        self
    }

    /// An earlier version than `version` is not good enough while any owner within reach has a later one. A session asks for
    /// this by itself for the keys that it used; this is for a version that came from elsewhere, as with a job that another
    /// process is to carry on with.
    ///
    /// ```no_run
    /// # use quoit_client::{Client, GetOptions, RequestError};
    /// # async fn example(writer: Client, reader: Client) -> Result<(), RequestError> {
    /// let written = writer.set("job:7", "…").await?;
    /// let found = reader.get_with("job:7", GetOptions::new().at_least(written)).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn at_least(mut self, version: Version) -> Self {
        self.at_least = Some(version);
        self
    }
}

/// How a key is deleted or touched.
///
/// ```
/// use quoit_client::{WriteLevel, WriteOptions};
/// let at_a_majority = WriteOptions::new().level(WriteLevel::Quorum);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    pub(crate) level: Option<WriteLevel>,
}

impl WriteOptions {
    /// The defaults: acknowledged at the client's [`write_level`](crate::ClientConfig::write_level).
    ///
    /// ```
    /// assert_eq!(quoit_client::WriteOptions::new(), quoit_client::WriteOptions::default());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// How many copies are waited for.
    ///
    /// ```
    /// use quoit_client::{WriteLevel, WriteOptions};
    /// let everywhere = WriteOptions::new().level(WriteLevel::All);
    /// ```
    #[must_use]
    pub fn level(mut self, level: WriteLevel) -> Self {
        self.level = Some(level);
        self
    }
}
