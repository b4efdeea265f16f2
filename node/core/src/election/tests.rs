//! The election by transcripts.

use crate::cluster::tests::scripts;

scripts! {
    "election":
    a_coordinator_that_stops_hands_over
    a_deaf_coordinator_steps_down
    a_higher_priority_stands_first
    a_lower_rank_yields_to_a_higher
    a_minority_elects_nobody
    a_promise_leaves_only_after_the_disk_has_it
    a_promise_outlives_the_process
    a_resumed_coordinator_is_refused_by_ballot
    a_returning_superior_does_not_preempt
    a_superior_that_never_takes_office_is_ignored
    a_transfer_that_is_lost_is_forgotten
    a_view_accepted_by_a_bare_majority_is_finished_by_the_next_coordinator
    half_a_transfer_leaves_no_voter_deaf
    nobody_stands_while_a_coordinator_is_heard
    questions_of_an_older_epoch_are_answered_with_newer
    the_next_rank_takes_over_when_the_coordinator_falls_silent
    the_office_is_transferred
    two_candidates_one_ballot_wins
}
