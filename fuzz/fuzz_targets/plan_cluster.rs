//! Small clusters that use every rule, with values from the ordinary to the impossible.

#![no_main]

use autoscaler_fuzz::cluster::Cluster;

libfuzzer_sys::fuzz_target!(|cluster: Cluster| autoscaler_fuzz::judge_cluster(&cluster));
