//! The `vpsie-autoscaler` binary.

use std::process::ExitCode;

use autoscaler_operator::args::Args;
use clap::Parser;

fn main() -> ExitCode {
    autoscaler_operator::main(Args::parse())
}
