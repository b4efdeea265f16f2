//! Who is in the cluster: watching members, admitting and removing them, and planning the next view.
//!
//! `Participant` is a member's whole part, put together from the machines of this folder and the election. The pieces that
//! decide are pure: the failure detector turns silence into suspicion, the verdict turns the suspicions of a majority of the
//! voters into *down*, and the plan turns all that is known into the next view.
//!
//! *Down* and *out* are two things (as in Ceph): down is a fact for routing and moves no data; leaving the ring does, and
//! comes later. A false *down* is cheap on purpose.
//!
//! A member may also answer, and yet be of little use, because it answers late. So each measures how long the voters take to
//! answer its heartbeats, tells them whom it finds *slow*, and what a majority tells makes a member *degraded*: a hint for
//! routing, which costs a view and nothing else. Members that do not vote are asked by nobody, so that this says nothing of
//! them.

mod admissions;
mod failure_detector;
mod participant;
mod plan;
mod ring_change;
mod slow_reports;
mod slowness;
mod verdict;

pub(crate) use participant::{Context, Effect, Participant, Setting};
pub(crate) use plan::recovered_view;

#[cfg(test)]
mod tests;
