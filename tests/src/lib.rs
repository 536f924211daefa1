//! Shared code of the end-to-end tests.

pub mod control_plane;
pub mod operator;
pub mod oracle;
pub mod scenarios;
pub mod watcher;
pub mod world;
