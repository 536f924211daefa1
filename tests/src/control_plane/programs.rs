//! Where the programs of the control plane are.
//!
//! `make control-plane` keeps each build in a folder of its own, with copies of the sources that it was made from. The
//! build of this checkout is the one whose copies equal `tests/control-plane`.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use super::Error;
use super::Options;

/// The environment variable of envtest users: a folder with kube-apiserver and etcd.
const ASSETS_VARIABLE: &str = "KUBEBUILDER_ASSETS";

/// The Go module, relative to the package of the tests.
const MODULE: &str = "control-plane";

/// The files of the module that decide what is built.
const SOURCES: [&str; 3] = ["go.mod", "go.sum", "main.go"];

/// A program of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// etcd, the store of the API server.
    Etcd,
    /// kube-apiserver.
    KubeApiserver,
    /// kube-controller-manager: Deployments, Jobs, garbage collection, node lifecycle and the others.
    KubeControllerManager,
    /// kube-scheduler.
    KubeScheduler,
}

/// The programs that were found.
#[derive(Debug)]
pub(super) struct Programs {
    /// All four programs in one, picked by the first argument.
    binary: PathBuf,
    /// Holds a kube-apiserver and an etcd that are used instead.
    assets: Option<PathBuf>,
}

impl Program {
    /// The name that the program is known by, also of its log file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
        }
    }

    /// Whether `KUBEBUILDER_ASSETS` brings it.
    fn is_asset(self) -> bool {
        matches!(self, Self::Etcd | Self::KubeApiserver)
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Programs {
    /// Finds the build of this checkout and the assets.
    pub(super) fn locate(options: &Options) -> Result<Self, Error> {
        let binary = find_binary(options)?;
        let assets = options
            .assets
            .clone()
            .or_else(|| std::env::var_os(ASSETS_VARIABLE).map(PathBuf::from));
        if let Some(folder) = &assets {
            for program in [Program::Etcd, Program::KubeApiserver] {
                if !folder.join(program.name()).is_file() {
                    return Err(Error::MissingAsset {
                        folder: folder.clone(),
                        program,
                    });
                }
            }
        }
        Ok(Self { binary, assets })
    }

    /// The command that runs `program`, before its flags.
    pub(super) fn command(&self, program: Program) -> Command {
        let mut command = Command::new(&self.binary);
        match &self.assets {
            // Our binary runs it, because it must end with the test process, too.
            Some(folder) if program.is_asset() => command.arg("exec").arg(folder.join(program.name())),
            _ => command.arg(program.name()),
        };
        command
    }
}

/// Finds the build of this checkout.
pub(super) fn find_binary(options: &Options) -> Result<PathBuf, Error> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let builds = match &options.builds {
        Some(folder) => folder.clone(),
        None => package.join("../target/control-plane"),
    };
    find_build(&builds, &package.join(MODULE), &SOURCES, "control-plane")
}

/// Finds the binary `name` in that folder of `builds` whose copies of `sources` equal those of `module`.
pub(crate) fn find_build(builds: &Path, module: &Path, sources: &[&str], name: &str) -> Result<PathBuf, Error> {
    let missing = || Error::MissingBinary {
        folder: builds.to_owned(),
    };
    let folders = match fs::read_dir(builds) {
        Ok(folders) => folders,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
        Err(error) => return Err(Error::io(format!("read {}", builds.display()))(error)),
    };
    let mut wanted = Vec::new();
    for source in sources {
        let path = module.join(source);
        let content = fs::read(&path).map_err(Error::io(format!("read {}", path.display())))?;
        // The copies lie side by side, wherever in the module the sources are.
        wanted.push((path.file_name().map(OsString::from).unwrap_or_default(), content));
    }
    for folder in folders {
        let folder = folder.map_err(Error::io(format!("read {}", builds.display())))?.path();
        let binary = folder.join(name);
        // A copy that cannot be read belongs to a build that is not finished.
        let is_ours =
            |(source, content): &(OsString, Vec<u8>)| fs::read(folder.join(source)).is_ok_and(|copy| copy == *content);
        if binary.is_file() && wanted.iter().all(is_ours) {
            return Ok(binary);
        }
    }
    Err(missing())
}
