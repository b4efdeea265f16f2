//! Membership by transcripts, and its pieces, each against its claims.

use crate::cluster::tests::scripts;

mod admissions;
mod failure_detector;
mod plan;
mod ring_change;
mod slow_reports;
mod slowness;
mod verdict;
mod views;

scripts! {
    "membership":
    a_coordinator_that_restarts_at_once_goes_on_as_its_own_next_life
    a_delta_that_does_not_fit_is_answered_with_the_whole_view
    a_drain_waits_while_who_would_take_slots_is_down
    a_drain_while_a_voter_is_down_freezes_nothing
    a_drained_coordinator_hands_over_first
    a_drained_node_retires_after_a_majority_has_the_view
    a_false_down_costs_two_views_and_moves_no_data
    a_flapping_member_waits_longer_each_time
    a_join_waits_until_nothing_is_left_to_fetch
    a_laggard_pulls_the_view
    a_lost_disk_is_refused_while_the_old_instance_is_up_then_replaced
    a_lost_word_of_installation_costs_time_only
    a_member_that_is_down_too_long_is_removed
    a_member_that_is_up_is_not_forced_out
    a_member_that_restarts_while_down_is_up_at_once
    a_member_without_weight_leaves_the_ring_and_votes
    a_moved_member_tells_its_new_address
    a_node_joins_through_any_member
    a_removed_node_joins_as_new
    a_restart_waits_for_nobody_who_is_down
    a_restarted_member_is_replaced_in_the_ring
    a_ring_change_is_given_up_when_an_owner_to_be_gets_another_weight
    a_ring_change_is_given_up_when_the_joiner_restarts
    a_ring_change_outlives_its_coordinator
    a_ring_change_that_gets_on_is_not_given_up
    a_ring_change_that_gets_stuck_is_given_up
    a_ring_change_waits_for_the_data
    a_slow_member_is_degraded_and_recovers
    a_voter_down_for_30_s_is_replaced
    a_weight_is_in_force_with_the_ring_change
    a_witness_votes_and_owns_nothing
    all_restart_and_go_on
    an_address_that_cannot_be_reached_is_refused
    an_observer_that_slept_blames_nobody
    copies_that_are_ordered_during_a_ring_change_wait_for_its_end
    heartbeats_wait_for_the_disk_too
    joins_within_a_second_share_one_ring_change
    more_copies_come_at_once_and_fewer_go_one_by_one
    of_two_who_are_drained_at_once_one_is_needed
    one_suspicion_makes_nobody_down
    one_that_missed_its_removal_goes_by_its_new_ordinal
    recover_makes_a_new_cluster_that_others_join
    the_last_owner_cannot_be_drained
    two_views_of_one_epoch_stop_the_node
    two_who_leave_a_small_ring_go_one_after_the_other
    when_too_many_are_down_only_an_administrator_removes
    who_is_not_reached_hears_so_from_the_member_it_asked
}
