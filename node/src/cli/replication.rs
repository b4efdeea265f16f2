//! `quoit replication` and `quoit weight`: how many copies there are of each key, and how much of them a node holds.

use clap::Args;
use quoit_client::{Label, View};
use quoit_proto_types::{
    limits::{REPLICATION_ALL, VNODES_MAX},
    message::membership::Command,
    view::next_copies,
};
use serde_json::json;

use super::{
    admin::administering,
    args::GlobalArgs,
    copies::{Copies, in_words, waiting},
    error::CliError,
    follow::{Latest, Progress, carry_out, say},
    output::Output,
};
use crate::config;

#[derive(Args, Debug)]
#[command(after_help = "\
Without a number it shows how many copies there are. With one it waits until there are so many, at
most --timeout. More are made at once; fewer with one ring change for each. Two survive the crash
of any one node, three that of any two; each costs as much memory again.
Exit codes: 0 done; 3 not yet, and it goes on; 5 refused.")]
pub(crate) struct ReplicationArgs {
    /// Copies of each key: 1 to 7, or `all` for one on every node
    #[arg(value_name = "N")]
    copies: Option<config::Copies>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
It waits until the keys are where they belong, at most --timeout. The weight counts until the node
is started again: then its own configuration does.
Exit codes: 0 done; 3 not yet, and it goes on; 5 refused.")]
pub(crate) struct WeightArgs {
    /// The node
    node: Label,
    /// Its points on the ring, 128 unless configured otherwise; with 0 it gives up its keys and only votes
    #[arg(value_parser = clap::value_parser!(u32).range(0..=i64::from(VNODES_MAX)))]
    vnodes: u32,
}

pub(crate) async fn replication(args: ReplicationArgs, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    let Some(config::Copies(copies)) = args.copies else { return show(global, output).await };
    let command = Command::SetCopies { copies };
    carry_out(&command, "replication", global, output, |_, view| copied(copies, view)).await
}

pub(crate) async fn weight(args: WeightArgs, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    let command = Command::SetWeight { name: args.node.clone(), vnodes: args.vnodes };
    carry_out(&command, "weight", global, output, |_, view| weighed(&args.node, args.vnodes, view)).await
}

async fn show(global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    administering(global, async |client| {
        let mut latest = Latest::of(client);
        latest.refresh(client).await;
        let view = latest.view();
        let (copies, waiting) = (Copies::of(view), waiting(view));
        let mut text = format!("copies   {}\nwanted   {}", copies.text(), config::Copies(copies.wanted));
        if let Some(waiting) = &waiting {
            text += &format!("\nwaiting  {waiting}");
        }
        Ok(say(output, &text, &document(view))?)
    })
    .await
}

/// The copies of `view`, as programs read them.
pub(crate) fn document(view: &View) -> serde_json::Value {
    let copies = Copies::of(view);
    json!({
        "copies": copies.in_force,
        "wanted": config::Copies(copies.wanted),
        "slots": copies.slots,
        "under_replicated_slots": copies.under_replicated,
        "slots_without_owner": copies.orphaned,
        "waiting": waiting(view),
    })
}

/// Whether `view` has as many copies as are wanted, as far as there are nodes for them.
pub(crate) fn copied(wanted: u8, view: &View) -> Progress {
    let (fields, epoch) = (view.fields(), view.epoch().value());
    let copies = Copies::of(view).in_force;
    let is_there = next_copies(fields.copies, wanted, view.owners_in_force()) == fields.copies;
    if fields.config.replication != wanted {
        Progress::Pending(format!("epoch {epoch}: accepted, and waits for the next view"))
    } else if fields.target.is_some() {
        Progress::Pending(format!("epoch {epoch}: on the way to {}; {copies} in force", in_words(wanted)))
    } else if is_there {
        let few = wanted != REPLICATION_ALL && usize::from(wanted) > copies;
        let few = if few { ", as there are no more nodes" } else { "" };
        Progress::Done(format!("{copies} of each key{few}, since epoch {epoch} at the latest"))
    } else {
        Progress::Pending(format!("epoch {epoch}: {}", waiting(view).unwrap_or_default()))
    }
}

/// Whether the member `name` has so much weight in `view`, and the ring has followed.
pub(crate) fn weighed(name: &Label, vnodes: u32, view: &View) -> Progress {
    let (fields, epoch) = (view.fields(), view.epoch().value());
    let Some(member) = view.member_named(name) else {
        return Progress::Done(format!("{name} is no member any more, since epoch {epoch} at the latest"));
    };
    let owns = fields.ring.iter().any(|owner| owner.ordinal == member.ordinal);
    if member.vnodes != vnodes {
        Progress::Pending(format!("epoch {epoch}: accepted, and waits for the next view"))
    } else if fields.target.is_some() {
        Progress::Pending(format!("epoch {epoch}: keys move to their new owners"))
    } else if member.placed.is_some() || owns != (vnodes > 0) {
        Progress::Pending(format!("epoch {epoch}: {}", waiting(view).unwrap_or_default()))
    } else {
        Progress::Done(format!("{name} has {vnodes} vnodes, since epoch {epoch} at the latest"))
    }
}

#[cfg(test)]
mod tests {
    use quoit_client::ViewFields;

    use super::*;
    use crate::cli::stage::{self, label};

    #[track_caller]
    fn check(found: &Progress, done: bool, words: &str) {
        let (Progress::Done(text) | Progress::Pending(text)) = found;
        assert!(matches!(found, Progress::Done(_)) == done && text.contains(words), "{found:?}");
    }

    #[test]
    fn copies_are_there_when_the_ring_has_them() {
        let view = |copies, wanted, change: fn(&mut ViewFields)| {
            stage::view(|fields| {
                (fields.copies, fields.config.replication) = (copies, wanted);
                change(fields);
            })
        };
        let moving = |fields: &mut ViewFields| fields.target = Some([1, 2, 3].map(stage::owner).to_vec());
        check(&copied(3, &view(2, 2, |_| {})), false, "accepted");
        check(&copied(3, &view(2, 3, moving)), false, "on the way to 3 copies of each key; 2 in force");
        check(&copied(3, &view(2, 3, |_| {})), false, "3 copies of each key, 2 in force");
        check(&copied(3, &view(3, 3, |_| {})), true, "3 of each key, since epoch 5");
        check(&copied(5, &view(5, 5, |_| {})), true, "3 of each key, as there are no more nodes");
        check(&copied(u8::MAX, &view(u8::MAX, u8::MAX, |_| {})), true, "3 of each key, since");
        // One goes with each change.
        check(&copied(1, &view(2, 1, |_| {})), false, "1 copy of each key, 2 in force");
    }

    #[test]
    fn a_weight_is_there_when_the_ring_has_followed() {
        let n2 = label("n2");
        let weight = |vnodes, change: fn(&mut ViewFields)| weighed(&n2, vnodes, &stage::view(change));
        check(&weight(64, |_| {}), false, "accepted");
        check(&weight(64, |fields| fields.members[1].resettle(None, 64, true)), false, "n2 in its new place");
        check(&weight(64, |fields| fields.members[1].vnodes = 64), true, "n2 has 64 vnodes");
        check(&weight(0, |fields| fields.members[1].resettle(None, 0, true)), false, "n2 to own nothing");
        let gone = |fields: &mut ViewFields| {
            fields.members[1].vnodes = 0;
            fields.ring.remove(1);
        };
        check(&weight(0, gone), true, "n2 has 0 vnodes");
    }
}
