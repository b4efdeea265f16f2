//! The tokens of a member, where they are assigned to it and not hashed.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::{codec, hash::SlotIndex, limits};

/// The tokens of one member on a balanced ring, in order. Each stands at the first point of a slot, which is the last of the
/// slots that it gets. Several may stand at one slot.
///
/// On the wire they are the gaps between them: two bytes for a token of most rings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens(Vec<SlotIndex>);

impl Tokens {
    /// None.
    pub const NONE: Self = Self(Vec::new());

    /// Those at `slots`, in whatever order.
    pub fn new(mut slots: Vec<SlotIndex>) -> Self {
        slots.sort_unstable();
        Self(slots)
    }

    /// Where they stand, in order.
    pub fn slots(&self) -> &[SlotIndex] {
        &self.0
    }
}

impl Serialize for Tokens {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut before = 0;
        serializer.collect_seq(self.0.iter().map(|slot| {
            let gap = slot.value() - before;
            before = slot.value();
            gap
        }))
    }
}

impl<'de> Deserialize<'de> for Tokens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let gaps: Vec<u32> = codec::at_most::<{ limits::VNODES_MAX as usize }, _, _>(deserializer)?;
        let mut before = 0_u32;
        let slot = |gap: u32| {
            before = before.checked_add(gap).ok_or_else(|| D::Error::custom("a token is beyond the last slot"))?;
            Ok(SlotIndex::new(before))
        };
        gaps.into_iter().map(slot).collect::<Result<_, _>>().map(Self)
    }
}
