//! The end-to-end suite on a real control plane. One binary, so that its tests can share a cluster.

mod control_plane;
mod crds;
mod failpoints;
mod process;
mod scaling;
