//! The operator as a process of its own, for the tests that end it.
//!
//! May hold: how it is started and ended. What it does is for the scenarios to judge.

use std::process::{Child, Command, ExitStatus, Stdio};

use autoscaler_scaler::failpoint;

use crate::world::World;

/// An operator process. It is killed at the latest when this is dropped.
#[derive(Debug)]
pub struct OperatorProcess(Child);

/// How an operator process differs from one that acts at once and to its end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Start<'a> {
    /// Where it serves probes and metrics; a free port when `None`.
    pub address: Option<std::net::SocketAddr>,
    /// The failpoint at which it ends.
    pub failpoint: Option<&'a str>,
    /// The name under which it campaigns for the Lease; `None` acts without one.
    pub replica: Option<&'a str>,
}

// === impl OperatorProcess ===

impl OperatorProcess {
    /// Starts `program`, which is the `operator` of this package, in a real world.
    pub fn start(program: &str, world: &World, start: &Start<'_>) -> Self {
        let (kubeconfig, _) = world.addresses();
        let address = start
            .address
            .map_or("127.0.0.1:0".to_owned(), |address| address.to_string());
        let mut command = Command::new(program);
        command
            .args(["run", "--cluster", "test", "--log-level", "warn"])
            .args(["--metrics-addr", &address, "--health-addr", &address])
            .args(["--vpsie-list-interval", "200ms", "--scan-interval", "1s"])
            .args(["--batch-idle", "100ms", "--batch-max", "1s"])
            .arg(format!("--leader-election={}", start.replica.is_some()))
            .args(["--identity", start.replica.unwrap_or("test"), "--kubeconfig"])
            .arg(kubeconfig)
            .env_remove(failpoint::VARIABLE)
            .stdin(Stdio::null());
        if let Some(point) = start.failpoint {
            command.env(failpoint::VARIABLE, point);
        }
        Self(command.spawn().unwrap())
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// How it ended; `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.0.wait().unwrap()
    }

    /// SIGKILL: no destructor runs, nothing is flushed.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for OperatorProcess {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
