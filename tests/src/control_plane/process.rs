//! One child process of the control plane: its start, its log and its end.

use std::fs;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use super::Error;
use super::Program;

/// How long a process may take to end by itself after its standard input closed. Then it is killed.
const END_WITHIN: Duration = Duration::from_secs(60);

/// How many lines of a log an error message shows.
const LOG_TAIL_LINES: usize = 15;

/// A child process whose life is tied to its standard input: see `tests/control-plane/main.go`.
///
/// It is a child of the standard library, because tokio's belongs to one runtime and a shared control plane serves
/// several.
#[derive(Debug)]
pub(super) struct Process {
    program: Program,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with `flags`. What it writes goes to a log file in `folder`.
    pub(super) fn start(
        program: Program,
        mut command: Command,
        flags: &[String],
        folder: &Path,
    ) -> Result<Self, Error> {
        let log = folder.join(format!("{program}.log"));
        let create_log = Error::io(format!("create {}", log.display()));
        let (output, errors) = File::create(&log)
            .and_then(|file| Ok((file.try_clone()?, file)))
            .map_err(create_log)?;
        command
            .args(flags)
            .current_dir(folder)
            .env("CONTROL_PLANE_EXIT_WITH_STDIN", "1")
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors);
        if program == Program::Etcd {
            // etcd is the one that writes into the folder until its end.
            command.env("CONTROL_PLANE_REMOVE_ON_EXIT", folder);
        }
        let child = command.spawn().map_err(Error::io(format!("start {program}")))?;
        Ok(Self { program, child, log })
    }

    pub(super) fn program(&self) -> Program {
        self.program
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails with the end of the log when the process has ended.
    pub(super) fn check_running(&mut self) -> Result<(), Error> {
        let status = self
            .child
            .try_wait()
            .map_err(Error::io(format!("ask for the state of {}", self.program)))?;
        match status {
            None => Ok(()),
            Some(status) => Err(Error::Exited {
                program: self.program,
                status,
                log: self.log_tail(),
            }),
        }
    }

    /// The last lines of what the process wrote.
    pub(super) fn log_tail(&self) -> String {
        let log = match fs::read(&self.log) {
            Ok(log) => log,
            Err(error) => return format!("({} cannot be read: {error})", self.log.display()),
        };
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let skipped = lines.len().saturating_sub(LOG_TAIL_LINES);
        lines.iter().skip(skipped).copied().collect::<Vec<_>>().join("\n")
    }

    /// Waits for the end of the process, and reaps it.
    fn ends_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            match self.child.try_wait() {
                Ok(Some(_)) => return true,
                Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(2)),
                Ok(None) | Err(_) => return false,
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // `kill` addresses this child only: it is not reaped yet, so nothing else can have its id.
        if !self.ends_within(END_WITHIN)
            && let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop))
        {
            tracing::error!(program = %self.program, id = self.id(), %error, "cannot end a process of the control plane");
        }
    }
}
