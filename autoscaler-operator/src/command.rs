//! What all commands share: how they write and how they fail.

use std::{
    fmt::Display,
    io::{self, BufWriter, Write},
    process::ExitCode,
};

use serde::Serialize;

use crate::args::Output;

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The arguments or the input are wrong; exit status 2.
    #[error("{0}")]
    Input(String),
    /// It went wrong; exit status 1.
    #[error("{0}")]
    Failed(String),
}

impl Failure {
    /// A failure of the input.
    pub fn input(error: impl Display) -> Self {
        Self::Input(error.to_string())
    }

    /// A failure of the work, with the causes below it.
    pub fn failed(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Failed(with_causes(error))
    }

    /// Prints the failure and gives the exit status.
    pub(crate) fn report(&self) -> ExitCode {
        // When standard error is closed there is nobody left to tell.
        drop(writeln!(io::stderr(), "error: {self}"));
        match self {
            Self::Input(_) => ExitCode::from(2),
            Self::Failed(_) => ExitCode::FAILURE,
        }
    }
}

/// An error in words, with the causes below it.
pub(crate) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Writes to standard output. A reader that went away, such as `head`, is no failure.
///
/// # Errors
/// When the output cannot be written for another reason, such as a full disk.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_with(|out| out.write_all(text.as_bytes()))
}

/// Prints a document in the form that was asked for.
///
/// # Errors
/// As [`print`].
pub(crate) fn print_document(document: &(impl Serialize + Display), output: Output) -> Result<(), Failure> {
    print_with(|out| write_document(out, document, output))
}

/// Writes a document in the form that was asked for, piece by piece.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write_document(
    mut out: impl Write,
    document: &(impl Serialize + Display),
    output: Output,
) -> io::Result<()> {
    match output {
        Output::Text => write!(out, "{document}"),
        Output::Json => {
            serde_json::to_writer_pretty(&mut out, document)?;
            out.write_all(b"\n")
        }
    }
}

/// Writes to standard output, as [`print`] does.
///
/// # Errors
/// As [`print`].
pub(crate) fn print_with(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard error.
pub(crate) fn warn(text: impl Display) {
    // When standard error is closed there is nobody left to tell.
    drop(writeln!(io::stderr(), "{text}"));
}
