//! Who should own how much, and where tokens go to make it so.

pub mod fair;
pub mod moves;
