//! The process that answers for kube-scheduler: see `tests/control-plane/oracle/main.go`.

use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::ChildStdin;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;
use std::thread;

use autoscaler_core::manifest::ReadErrors;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use crate::control_plane;
use crate::control_plane::programs::find_build;

/// Where the sources lie, relative to the package of the tests. Their last part is the name of the file beside the
/// binary.
const SOURCES: [&str; 6] = [
    "go.mod",
    "go.sum",
    "oracle/answers.go",
    "oracle/cluster.go",
    "oracle/main.go",
    "oracle/plugins.go",
];

/// Why there are no two answers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no build of it.
    #[error("no build of the oracle: run `make oracle`")]
    Missing(#[source] control_plane::Error),
    /// It cannot be started, or its pipes broke.
    #[error("cannot talk to the oracle")]
    Pipe(#[source] io::Error),
    /// What it wrote is not an answer.
    #[error("not an answer of the oracle: {line}")]
    Answer {
        /// What it wrote.
        line: String,
        /// Why that is none.
        source: serde_json::Error,
    },
    /// It has no answer to a request.
    #[error("the oracle cannot answer request {index}: {message}")]
    Refused {
        /// The position of the request among those that were asked together.
        index: usize,
        /// What it said.
        message: String,
    },
    /// The planner cannot read an object.
    #[error("the planner cannot read {object}: {source}")]
    Unreadable {
        /// Its name.
        object: String,
        /// Why not.
        source: serde_json::Error,
    },
    /// The planner cannot read the text that the objects are written in.
    #[error("the planner cannot read the objects: {0}")]
    UnreadableText(ReadErrors),
}

/// One question.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Request<'a> {
    /// Which nodes fit these pods (`namespace/name`)?
    Judge {
        /// All objects of the cluster.
        objects: &'a [Value],
        /// The pods.
        pods: &'a [String],
    },
    /// Can these pods be bound to these nodes, one after another in some order?
    Bind {
        /// All objects of the cluster, with the nodes to come.
        objects: &'a [Value],
        /// Pods with their nodes.
        binds: &'a [Bind],
    },
}

/// A pod that is to be bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bind {
    /// `namespace/name`
    pub pod: String,
    /// The node.
    pub node: String,
}

/// One answer.
#[derive(Clone, Debug, Deserialize)]
pub struct Answer {
    id: usize,
    #[serde(default)]
    error: String,
    /// To [`Request::Judge`].
    #[serde(default)]
    pub pods: Vec<PodAnswer>,
    /// To [`Request::Bind`]: what could not be bound.
    #[serde(default)]
    pub left: Vec<Left>,
}

/// What the plugins say about one pod.
#[derive(Clone, Debug, Deserialize)]
pub struct PodAnswer {
    /// `namespace/name`
    pub pod: String,
    /// Every node.
    pub nodes: Vec<NodeAnswer>,
}

/// What the plugins say about one pod and node.
#[derive(Clone, Debug, Deserialize)]
pub struct NodeAnswer {
    /// The node.
    pub node: String,
    /// Whether all of them accept it.
    pub fits: bool,
    /// The first that does not.
    #[serde(default)]
    pub plugin: String,
    /// What it says.
    #[serde(default)]
    pub message: String,
}

/// A pod that could not be bound in any order that was tried.
#[derive(Clone, Debug, Deserialize)]
pub struct Left {
    /// `namespace/name`
    pub pod: String,
    /// Where it should be.
    pub node: String,
    /// Who says no.
    pub plugin: String,
    /// What it says.
    pub message: String,
}

/// The process. It ends with its standard input, and so with the process that holds it.
#[derive(Debug)]
pub struct Oracle {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Oracle {
    /// Starts the build of this checkout.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] and [`Error::Pipe`].
    pub fn start() -> Result<Self, Error> {
        let mut child = Command::new(binary()?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Error::Pipe)?;
        let missing = || Error::Pipe(io::ErrorKind::BrokenPipe.into());
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        Ok(Self {
            child,
            input: Some(input),
            output,
        })
    }

    /// Asks everything at once, does something `meanwhile`, and gives the answers in the order of the requests.
    ///
    /// # Errors
    ///
    /// [`Error::Pipe`], [`Error::Answer`] and [`Error::Refused`]. After the first two nothing more can be asked.
    pub fn ask<T>(
        &mut self,
        requests: &[Request<'_>],
        meanwhile: impl FnOnce() -> T,
    ) -> Result<(Vec<Answer>, T), Error> {
        let Some(input) = self.input.as_mut() else {
            return Err(Error::Pipe(io::ErrorKind::BrokenPipe.into()));
        };
        let output = &mut self.output;
        let (written, answers, done) = thread::scope(|scope| {
            let writer = scope.spawn(|| -> io::Result<()> {
                for (id, request) in requests.iter().enumerate() {
                    let mut line = serde_json::to_vec(&Line { id, request })?;
                    line.push(b'\n');
                    input.write_all(&line)?;
                }
                input.flush()
            });
            let reader = scope.spawn(|| read_answers(output, requests.len()));
            let done = meanwhile();
            let panicked = "these threads do not panic";
            (writer.join().expect(panicked), reader.join().expect(panicked), done)
        });
        let answers = answers?;
        written.map_err(Error::Pipe)?;
        match answers.iter().find(|answer| !answer.error.is_empty()) {
            Some(refused) => Err(Error::Refused {
                index: refused.id,
                message: refused.error.clone(),
            }),
            None => Ok((answers, done)),
        }
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        drop(self.input.take());
        // It may be in the middle of a long answer that nobody waits for any more.
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            tracing::error!(id = self.child.id(), %error, "cannot end the oracle");
        }
    }
}

/// One line of the input.
#[derive(Serialize)]
struct Line<'a> {
    id: usize,
    #[serde(flatten)]
    request: &'a Request<'a>,
}

fn read_answers(output: &mut BufReader<ChildStdout>, count: usize) -> Result<Vec<Answer>, Error> {
    let mut answers = Vec::with_capacity(count);
    for _ in 0..count {
        let mut line = String::new();
        if output.read_line(&mut line).map_err(Error::Pipe)? == 0 {
            return Err(Error::Pipe(io::ErrorKind::UnexpectedEof.into()));
        }
        match serde_json::from_str::<Answer>(&line) {
            Ok(answer) => answers.push(answer),
            Err(source) => return Err(Error::Answer { line, source }),
        }
    }
    answers.sort_by_key(|answer| answer.id);
    Ok(answers)
}

fn binary() -> Result<PathBuf, Error> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let builds = package.join("../target/oracle");
    find_build(&builds, &package.join("control-plane"), &SOURCES, "oracle").map_err(Error::Missing)
}
