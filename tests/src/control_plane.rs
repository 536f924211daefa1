//! A real Kubernetes control plane for the tests: etcd, kube-apiserver, kube-controller-manager and kube-scheduler as
//! child processes on free ports of 127.0.0.1.
//!
//! [`ControlPlane::start`] takes about three seconds on an idle machine. There are no kubelets: use
//! [`Kubelets`](autoscaler_scaler::embedded::kubelet::Kubelets). The programs come from `make control-plane`, and
//! kube-apiserver and etcd from the folder `KUBEBUILDER_ASSETS` where that is set.
//!
//! No process outlives the tests. A [`ControlPlane`] that is dropped, also by a panic, ends the processes that it
//! started; one that is not dropped, because it is [shared](ControlPlane::shared) or because the test process was
//! killed, loses them when its end of their standard input closes. The last of them removes the folder of the cluster.
//!
//! This file holds the start and the end of a cluster. Its modules hold one child process, the search for the
//! programs, their files and command lines, the certificates, and the test double of metrics.k8s.io.

mod certificates;
mod layout;
pub mod metrics;
mod process;
pub(crate) mod programs;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::Client;
use kube::Config;
use kube::config::KubeConfigOptions;
use kube::config::Kubeconfig;
use kube::config::KubeconfigError;
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use layout::Layout;
use process::Process;
use programs::Programs;

pub use programs::Program;

/// How long a program may take until it is ready. Idle machines need a tenth of a second to two seconds; this is for
/// machines that build something else at the same time.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Pause between two looks at whether a program is ready.
const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// Time without a byte from the API server after which a call of [`ControlPlane::client`] fails. It is above the
/// minute between two bookmarks, so that a quiet watch goes on.
const READ_TIMEOUT: Duration = Duration::from_secs(120);

/// How often a start is tried when another process takes a port between our pick and our use of it.
const START_ATTEMPTS: usize = 3;

/// A running control plane. It ends when this value is dropped.
pub struct ControlPlane {
    processes: Processes,
    config: Config,
    kubeconfig: PathBuf,
    // Dropped after the processes that write into it.
    directory: TempDir,
}

/// What differs from a plain [`ControlPlane::start`].
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Further flags, after ours, for example a shorter `--node-monitor-grace-period` for kube-controller-manager.
    pub flags: BTreeMap<Program, Vec<String>>,
    /// The folder to find kube-apiserver and etcd in; `None` reads `KUBEBUILDER_ASSETS`.
    pub assets: Option<PathBuf>,
    /// The folder to find the builds of `make control-plane` in; `None` is `target/control-plane` of the workspace.
    pub builds: Option<PathBuf>,
}

/// Why there is no control plane.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `make control-plane` has not run for this version of `tests/control-plane`.
    #[error(
        "{} holds no build of tests/control-plane; run `make control-plane` (about five minutes the first time)",
        folder.display()
    )]
    MissingBinary {
        /// Where a build was looked for.
        folder: PathBuf,
    },
    /// `KUBEBUILDER_ASSETS` names a folder without a program that it must hold.
    #[error("KUBEBUILDER_ASSETS is {}, which holds no {program}", folder.display())]
    MissingAsset {
        /// The folder that was looked into.
        folder: PathBuf,
        /// The program that is not there.
        program: Program,
    },
    /// A program ended before it was ready.
    #[error("{program} ended with {status} before the control plane was ready; its last words:\n{log}")]
    Exited {
        /// The program that ended.
        program: Program,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it wrote.
        log: String,
    },
    /// A program did not become ready in time.
    #[error("{program} was not ready within {} s; its last words:\n{log}", within.as_secs())]
    NotReady {
        /// The program that was waited for.
        program: Program,
        /// How long it was waited for.
        within: Duration,
        /// The end of what it wrote.
        log: String,
    },
    /// The operating system refused a file, a port or a process.
    #[error("cannot {attempt}")]
    Io {
        /// What was tried, as a phrase that follows "cannot".
        attempt: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The certificates of the cluster could not be made.
    #[error("cannot make the certificates of the control plane")]
    Certificates(#[source] rcgen::Error),
    /// The kubeconfig that was written could not be read back.
    #[error("cannot load the kubeconfig of the control plane")]
    Kubeconfig(#[source] KubeconfigError),
    /// No client could be made from the configuration.
    #[error("cannot make a client for the control plane")]
    Client(#[source] kube::Error),
}

impl Options {
    /// The program that `make control-plane` built for this checkout; its first argument picks what it runs.
    ///
    /// # Errors
    ///
    /// [`Error::MissingBinary`]; [`Error::Io`] when the sources or the builds cannot be read.
    pub fn binary(&self) -> Result<PathBuf, Error> {
        programs::find_binary(self)
    }
}

impl ControlPlane {
    /// Starts a control plane and waits until all of its programs are ready.
    ///
    /// Call it on a runtime whose time runs: under tokio's paused time the deadlines pass at once.
    ///
    /// # Errors
    ///
    /// When the programs are not built, and when one of them fails; the message holds the end of its log.
    pub async fn start() -> Result<Self, Error> {
        Self::start_with(&Options::default()).await
    }

    /// Starts a control plane that differs from the plain one by `options`.
    ///
    /// # Errors
    ///
    /// As [`ControlPlane::start`].
    pub async fn start_with(options: &Options) -> Result<Self, Error> {
        // kube takes the TLS provider of the process. Someone else may have installed one, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();

        let programs = Programs::locate(options)?;
        let mut attempt = 1;
        loop {
            match Self::start_once(&programs, options).await {
                Err(Error::Exited { log, .. })
                    if attempt < START_ATTEMPTS && log.contains("address already in use") =>
                {
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    /// The control plane that all tests of this process share. The first call starts it.
    ///
    /// It ends with the process. Tests that use it keep apart by their own namespaces and node labels.
    ///
    /// # Errors
    ///
    /// As [`ControlPlane::start`]. A failed start is not tried again: every caller sees the same error.
    pub async fn shared() -> Result<&'static Self, &'static Error> {
        static SHARED: OnceCell<Result<ControlPlane, Error>> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await.as_ref()
    }

    /// A new client with all permissions, for the runtime of the caller.
    ///
    /// Every `#[tokio::test]` has a runtime of its own, and a client dies with the runtime that it was made in. So
    /// each test makes its own client, also of a [shared](ControlPlane::shared) control plane.
    ///
    /// It has the settings of [`ControlPlane::config`].
    ///
    /// # Errors
    ///
    /// [`Error::Client`] when the configuration makes no client.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn client(&self) -> Result<Client, Error> {
        Client::try_from(self.config()).map_err(Error::Client)
    }

    /// The configuration of [`ControlPlane::client`]: all permissions, no automatic retries (so that a refused
    /// eviction is an answer and not five minutes of waiting) and a read timeout.
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// A kubeconfig with all permissions, for programs that run beside the test. It names files of the cluster's
    /// folder and is gone with it.
    pub fn kubeconfig_path(&self) -> &Path {
        &self.kubeconfig
    }

    /// The folder that holds the data, the keys and the logs (`etcd.log` and so on) of the cluster.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The ids of the child processes.
    pub fn process_ids(&self) -> Vec<u32> {
        self.processes.0.iter().map(Process::id).collect()
    }

    async fn start_once(programs: &Programs, options: &Options) -> Result<Self, Error> {
        let directory = tempfile::Builder::new()
            .prefix("control-plane-")
            .tempdir()
            .map_err(Error::io("make a temporary folder"))?;
        let layout = Layout::write(directory.path())?;
        let kubeconfig = layout.kubeconfig();
        let config = load_config(&kubeconfig).await?;

        // From here on every way out ends the processes that are in this list.
        let mut processes = Processes(Vec::new());
        for programs_at_once in [
            [Program::Etcd].as_slice(),
            &[Program::KubeApiserver],
            &[Program::KubeControllerManager, Program::KubeScheduler],
        ] {
            for &program in programs_at_once {
                let mut flags = layout.flags(program);
                flags.extend(options.flags.get(&program).into_iter().flatten().cloned());
                let command = programs.command(program);
                processes
                    .0
                    .push(Process::start(program, command, &flags, directory.path())?);
            }
            for &program in programs_at_once {
                let (address, path) = layout.health(program);
                let mut config = config.clone();
                config.cluster_url = address;
                let client = Client::try_from(config).map_err(Error::Client)?;
                processes.until(program, || is_healthy(&client, path)).await?;
            }
        }
        // The API server makes these after it is ready, and tests use them at once.
        let namespaces: Api<Namespace> = Api::all(Client::try_from(config.clone()).map_err(Error::Client)?);
        for name in ["default", "kube-system", "kube-node-lease"] {
            processes
                .until(Program::KubeApiserver, || exists(&namespaces, name))
                .await?;
        }
        Ok(Self {
            processes,
            config,
            kubeconfig,
            directory,
        })
    }
}

impl fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlPlane")
            .field("url", &self.config.cluster_url)
            .field("directory", &self.directory.path())
            .field("process_ids", &self.process_ids())
            .finish_non_exhaustive()
    }
}

impl Error {
    /// Turns the error of the operating system into ours, for `map_err`.
    fn io(attempt: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Io {
            attempt: attempt.into(),
            source,
        }
    }
}

/// The processes of one control plane in the order of their start. Dropping it ends them in the other order.
struct Processes(Vec<Process>);

impl Processes {
    /// Waits until `condition` of `program` holds. Fails when any process ends, and after [`READY_WITHIN`].
    async fn until<C: Future<Output = bool>>(
        &mut self,
        program: Program,
        mut condition: impl FnMut() -> C,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            for process in &mut self.0 {
                process.check_running()?;
            }
            // A call that hangs must not outlast the deadline either.
            if tokio::time::timeout_at(deadline, condition()).await == Ok(true) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let log = self
                    .0
                    .iter()
                    .find(|process| process.program() == program)
                    .map(Process::log_tail);
                return Err(Error::NotReady {
                    program,
                    within: READY_WITHIN,
                    log: log.unwrap_or_default(),
                });
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        while let Some(process) = self.0.pop() {
            drop(process);
        }
    }
}

async fn load_config(kubeconfig: &Path) -> Result<Config, Error> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).map_err(Error::Kubeconfig)?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(Error::Kubeconfig)?;
    config.default_retry = false;
    config.read_timeout = Some(READ_TIMEOUT);
    config.reset_reader_on_write = true;
    Ok(config)
}

/// Whether a health endpoint answers 200. Any failure means "not yet": [`Processes::until`] has the deadline and sees
/// a process that ended.
async fn is_healthy(client: &Client, path: &str) -> bool {
    match http::Request::get(path).body(Vec::new()) {
        Ok(request) => client.request_text(request).await.is_ok(),
        Err(_) => false,
    }
}

async fn exists(namespaces: &Api<Namespace>, name: &str) -> bool {
    namespaces.get(name).await.is_ok()
}
