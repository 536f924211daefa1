//! The VPSie node autoscaler as a program: arguments, wiring, HTTP servers and commands.
//!
//! Decisions are made in `autoscaler-core` and carried out in `autoscaler-scaler`; this crate only connects them.

pub mod args;
pub mod command;
pub mod crds;
pub mod demo;
pub mod explain;
pub mod input;
pub mod observe;
pub mod operate;
pub mod plan;
pub mod run;
pub mod serve;
pub mod telemetry;
pub mod vpsie;
pub mod whatif;

use std::process::ExitCode;

use crate::{
    args::{Args, Command},
    command::Failure,
};

/// Runs one command and says how the process exits: 0 done, 1 failed, 2 bad usage or bad input.
#[must_use]
pub fn main(args: Args) -> ExitCode {
    let result = match args.command {
        Command::Run(args) => block_on(run::run(*args)),
        Command::Demo(args) => block_on(demo::run(args)),
        Command::Plan(args) => plan::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Crds(args) => crds::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Runs a future on a runtime of its own.
fn block_on(future: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    // kube and the VPSie client share one TLS implementation; installing it twice is no failure.
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| Failure::failed(&error))?.block_on(future)
}
