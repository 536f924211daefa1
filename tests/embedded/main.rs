//! The scenarios on the in-memory cluster, under paused time. Needs nothing but Rust.

use harness::{scenarios, world::World};

macro_rules! on_the_embedded_cluster {
    ($($name:ident: $scenario:ident($($argument:expr),*);)*) => {$(
        #[tokio::test(start_paused = true)]
        async fn $name() {
            scenarios::$scenario(World::embedded().await, $($argument),*).await;
        }
    )*};
}

on_the_embedded_cluster! {
    scale_up_from_zero_for_1_pod: scale_up_from_zero(1, 1);
    scale_up_from_zero_for_5_pods: scale_up_from_zero(5, 1);
    scale_up_from_zero_for_30_pods: scale_up_from_zero(30, 5);
    scale_up_from_one_for_1_pod: scale_up_from_one(1, 1);
    scale_up_from_one_for_5_pods: scale_up_from_one(5, 1);
    scale_up_from_one_for_30_pods: scale_up_from_one(30, 5);
    b20_two_groups_one_pod_one_vm: b20_two_groups_one_pod_one_vm();
    b21_an_oversized_pod_buys_nothing_and_hears_why: b21_an_oversized_pod_buys_nothing_and_hears_why();
    b22_labels_and_taints_before_schedulable: b22_labels_and_taints_before_schedulable();
    scale_down_of_an_idle_node: scale_down_of_an_idle_node();
    b1_a_node_with_an_empty_dir_pod_stays: b1_a_node_with_an_empty_dir_pod_stays();
    b32_a_lost_reply_to_a_create_buys_one_vm: b32_a_lost_reply_to_a_create_buys_one_vm();
    b32e_an_operator_that_ends_during_a_create_buys_one_vm: b32e_an_operator_that_ends_during_a_create_buys_one_vm();
    capacity_errors_back_off: capacity_errors_back_off_and_the_next_best_offering_is_bought();
    b4_b5_a_budget_that_allows_nothing_keeps_every_node: b4_b5_a_budget_that_allows_nothing_keeps_every_node();
    b39_a_deleted_node_group_takes_its_vms_along: b39_a_deleted_node_group_takes_its_vms_along();
    a_foreign_cordon_is_left_alone: a_foreign_cordon_is_left_alone();
}
