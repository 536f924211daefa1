//! The planner against kube-scheduler's own Filter plugins.
//!
//! `make oracle` builds the program that holds them. Each test prints which environment variables repeat what failed;
//! the same variables pick other clusters, and more of them, than those of every run.

mod differential;
mod kept;
mod plans;

/// A number that the environment sets.
fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
    )
}
