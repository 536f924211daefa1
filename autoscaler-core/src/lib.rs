//! Pure decisions of a Kubernetes node autoscaler.

pub mod build;
pub mod check;
pub mod constraint;
pub mod document;
pub mod drain;
pub mod fit;
pub mod hours;
pub mod lifecycle;
pub mod manifest;
mod options;
pub mod pdb;
pub mod plan;
pub mod planner;
pub mod provider;
pub mod quantity;
pub mod resources;
pub mod scale_down;
mod scale_up;
pub mod selector;
pub mod snapshot;
pub mod symbol;
pub mod taint;
pub mod template;
pub mod world;
