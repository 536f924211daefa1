//! The hash function of every table of the crate. Its seed is fixed, so that the same input gives the same tables; yet
//! nothing may depend on the order in which a table holds its entries.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;

const SEED: u64 = 0x5eed_0f70_0d1e_5a11;

/// The hash of a value, the same in every process.
pub(crate) fn hash_of(value: &(impl Hash + ?Sized)) -> u64 {
    FixedState::with_seed(SEED).hash_one(value)
}
