//! Decisions from text: every case is a cluster in YAML and what must be decided about it.

mod case;
mod scale_up;
