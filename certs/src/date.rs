//! Dates as people and programs read them, always UTC.

use std::time::SystemTime;

use time::OffsetDateTime;

/// Writes the UTC day of a time, as `2026-11-20`.
pub fn day(time: SystemTime) -> String {
    OffsetDateTime::from(time).date().to_string()
}

/// Writes a time in UTC to the second, as `2026-11-20T09:05:00Z`.
pub fn rfc3339(time: SystemTime) -> String {
    let (hour, minute, second) = OffsetDateTime::from(time).to_hms();
    format!("{}T{hour:02}:{minute:02}:{second:02}Z", day(time))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn dates_are_padded_and_in_utc() {
        let time = UNIX_EPOCH + Duration::from_secs(1_709_168_705); // the 29th of February 2024
        assert_eq!(day(time), "2024-02-29");
        assert_eq!(rfc3339(time), "2024-02-29T01:05:05Z");
    }
}
