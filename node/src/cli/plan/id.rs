//! What names a plan: the wish, and the view that it was computed for. It holds all that is needed to carry it out.

use std::{fmt, str::FromStr};

use quoit_client::{Label, View};
use quoit_core::placement::moves::Wish;

use crate::config;

/// A plan's name, as in `remove:n3@12-3fa4b2c1`: the wish, the epoch, and the beginning of the view's hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlanId {
    pub(super) wish: Wish,
    epoch: u64,
    hash: String,
}

impl PlanId {
    pub(super) fn new(wish: Wish, view: &View) -> Self {
        Self { wish, epoch: view.epoch().value(), hash: view.hash().to_string() }
    }

    /// Whether the plan was computed for `view`.
    pub(super) fn is_of(&self, view: &View) -> bool {
        self.epoch == view.epoch().value() && self.hash == view.hash().to_string()
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.wish {
            Wish::Add { name, vnodes, zone: None } => write!(f, "add:{name}:{vnodes}"),
            Wish::Add { name, vnodes, zone: Some(zone) } => write!(f, "add:{name}:{vnodes}:{zone}"),
            Wish::Remove { name } => write!(f, "remove:{name}"),
            Wish::Weight { name, vnodes } => write!(f, "weight:{name}:{vnodes}"),
            Wish::Copies(copies) => write!(f, "replication:{}", config::Copies(*copies)),
            Wish::Vnodes(vnodes) => write!(f, "vnodes:{vnodes}"),
        }?;
        write!(f, "@{}-{}", self.epoch, self.hash)
    }
}

impl FromStr for PlanId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| "not the name of a plan, as quoit plan prints it: remove:n3@12-3fa4b2c1".into())
    }
}

fn parse(text: &str) -> Option<PlanId> {
    let (wish, view) = text.split_once('@')?;
    let (epoch, hash) = view.split_once('-')?;
    if hash.len() != 8 || !hash.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let (verb, what) = wish.split_once(':')?;
    let wish = match verb {
        "add" => added(what).ok()?,
        "remove" => Wish::Remove { name: what.parse().ok()? },
        "weight" => {
            let (name, vnodes) = what.split_once(':')?;
            Wish::Weight { name: name.parse().ok()?, vnodes: vnodes.parse().ok()? }
        }
        "replication" => Wish::Copies(what.parse::<config::Copies>().ok()?.0),
        "vnodes" => Wish::Vnodes(what.parse().ok()?),
        _ => return None,
    };
    Some(PlanId { wish, epoch: epoch.parse().ok()?, hash: hash.into() })
}

/// Reads `NODE[:weight[:zone]]`.
pub(super) fn added(text: &str) -> Result<Wish, String> {
    let mut parts = text.splitn(3, ':');
    let name = parts.next().unwrap_or_default();
    let name = name.parse::<Label>().map_err(|error| format!("{name:?} is no name of a node: {error}"))?;
    let vnodes = parts.next().map(|vnodes| match vnodes.parse::<u32>() {
        Ok(vnodes @ 1..) => Ok(vnodes),
        Ok(0) | Err(_) => Err(format!("{vnodes:?} is no weight: a number of vnodes, 128 unless told otherwise")),
    });
    let zone = parts.next().map(|zone| zone.parse::<Label>().map_err(|error| format!("{zone:?} is no zone: {error}")));
    Ok(Wish::Add {
        name,
        vnodes: vnodes.transpose()?.unwrap_or(quoit_proto_types::view::VNODES_DEFAULT),
        zone: zone.transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::stage::{self, label};

    #[test]
    fn a_name_holds_the_whole_plan() {
        let view = stage::view(|_| {});
        for wish in [
            Wish::Add { name: label("n4"), vnodes: 64, zone: Some(label("z1")) },
            Wish::Add { name: label("n4"), vnodes: 128, zone: None },
            Wish::Remove { name: label("n-2") },
            Wish::Weight { name: label("n2"), vnodes: 0 },
            Wish::Copies(3),
            Wish::Copies(u8::MAX),
            Wish::Vnodes(256),
        ] {
            let id = PlanId::new(wish, &view);
            assert_eq!(id.to_string().parse(), Ok(id.clone()));
            assert!(id.is_of(&view) && !id.is_of(&stage::view(|fields| fields.proposed_at_ms += 1)), "{id}");
        }
        for text in ["", "remove:n3", "remove:n3@5", "remove:n3@5-xyz", "grow:n3@5-00000000", "weight:n3@5-00000000"] {
            assert!(text.parse::<PlanId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_node_to_be_is_read_with_what_is_usual() {
        assert_eq!(added("n4"), Ok(Wish::Add { name: label("n4"), vnodes: 128, zone: None }));
        assert_eq!(added("n4:7:z"), Ok(Wish::Add { name: label("n4"), vnodes: 7, zone: Some(label("z")) }));
        for text in ["", "N4", "n4:", "n4:0", "n4:7:"] {
            assert!(added(text).is_err(), "{text}");
        }
    }
}
