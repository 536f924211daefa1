//! Logs: their format, where they go, and a filter that can change while the operator runs.
//!
//! Setting up the subscriber belongs here; what is logged is in the code that logs.

use std::{
    env, fmt,
    io::{self, IsTerminal},
};

use clap::ValueEnum;
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    fmt::{MakeWriter, layer},
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people: one line of text, coloured on a terminal.
    Text,
    /// For machines: one JSON object per line.
    #[default]
    Json,
}

/// Changes the filter of the logs while the process runs. A clone changes the same filter.
#[derive(Clone, Debug)]
pub struct LogHandle {
    filter: reload::Handle<EnvFilter, Registry>,
}

/// Why logs are not as they were asked to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The filter cannot be understood.
    #[error(
        "the log filter {filter:?} is neither a level (off, error, warn, info, debug, trace) nor a list of \
         target=level: {message}"
    )]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        message: String,
    },
    /// The process logs already.
    #[error("a log subscriber is installed already")]
    AlreadyInstalled,
    /// The subscriber that the handle belongs to is gone.
    #[error("the log filter cannot be changed any more")]
    Gone,
}

/// Sends the logs of this process to standard error: lines of the format that pass the filter.
///
/// A filter is a level (`info`), or a comma list of levels per target and one for the rest
/// (`info,autoscaler_scaler=debug,kube_client=warn`), as of
/// [`EnvFilter`](https://docs.rs/tracing-subscriber/0.3/tracing_subscriber/filter/struct.EnvFilter.html). Standard
/// output is left to what commands print.
///
/// # Errors
/// [`Error::Filter`]; [`Error::AlreadyInstalled`] when the process has a subscriber.
pub fn init(format: LogFormat, filter: &str) -> Result<LogHandle, Error> {
    let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let color = io::stderr().is_terminal() && !no_color;
    let (subscriber, handle) = subscriber(format, filter, color, io::stderr)?;
    subscriber.try_init().map_err(|_| Error::AlreadyInstalled)?;
    Ok(handle)
}

// === impl LogFormat ===

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

// === impl LogHandle ===

impl LogHandle {
    /// Logs what passes this filter from now on.
    ///
    /// # Errors
    /// [`Error::Filter`], and the filter stays as it was; [`Error::Gone`].
    pub fn set_filter(&self, filter: &str) -> Result<(), Error> {
        let filter = parse(filter)?;
        self.filter.reload(filter).map_err(|_| Error::Gone)
    }

    /// The filter in use. Its parts may stand in another order than they were given in.
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub fn filter(&self) -> Result<String, Error> {
        self.filter.with_current(ToString::to_string).map_err(|_| Error::Gone)
    }
}

fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    color: bool,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + use<W>, LogHandle), Error>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let lines = match format {
        LogFormat::Text => layer().with_ansi(color).with_writer(writer).boxed(),
        // The fields of the event stand beside its message, so that a query needs no path.
        LogFormat::Json => layer().json().flatten_event(true).with_writer(writer).boxed(),
    };
    let subscriber = Registry::default().with(filter).with(lines);
    Ok((subscriber, LogHandle { filter: handle }))
}

/// The parser takes a single misspelt level for the name of a target, and would then log nothing else.
fn parse(filter: &str) -> Result<EnvFilter, Error> {
    let error = |message: String| Error::Filter {
        filter: filter.to_owned(),
        message,
    };
    let is_word = filter.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if filter.trim().is_empty() {
        return Err(error("it is empty".to_owned()));
    }
    if is_word && filter.parse::<LevelFilter>().is_err() {
        return Err(error("there is no such level".to_owned()));
    }
    EnvFilter::try_new(filter).map_err(|source| error(source.to_string()))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::Value;
    use tracing::{debug, info, info_span, subscriber::with_default, warn};

    use super::*;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logging(format: LogFormat, filter: &str) -> (impl Subscriber + Send + Sync, LogHandle, Lines) {
        let lines = Lines::default();
        let writer = lines.clone();
        let (subscriber, handle) = subscriber(format, filter, false, move || writer.clone()).unwrap();
        (subscriber, handle, lines)
    }

    #[test]
    fn json_is_one_object_per_line_with_fields_and_spans() {
        let (subscriber, _handle, lines) = logging(LogFormat::Json, "info");
        with_default(subscriber, || {
            let _span = info_span!("plan", tick = 7).entered();
            info!(node_group = "kube-system/workers", nodes = 2, "scale-up");
            debug!("not shown");
        });
        let text = lines.take();
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "scale-up");
        assert_eq!(line["node_group"], "kube-system/workers");
        assert_eq!(line["nodes"], 2);
        assert_eq!(line["span"]["name"], "plan");
        assert_eq!(line["span"]["tick"], 7);
        let timestamp = line["timestamp"].as_str().unwrap();
        assert!(timestamp.parse::<jiff::Timestamp>().is_ok(), "{timestamp}");
    }

    #[test]
    fn text_is_plain_when_it_goes_to_no_terminal() {
        let (subscriber, _handle, lines) = logging(LogFormat::Text, "warn");
        with_default(subscriber, || {
            warn!(node = "n1", "drain timed out");
            info!("not shown");
        });
        let text = lines.take();
        assert!(
            text.contains(" WARN ") && text.ends_with("drain timed out node=\"n1\"\n"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn the_filter_changes_while_running() {
        let (subscriber, handle, lines) = logging(LogFormat::Text, "info");
        with_default(subscriber, || {
            debug!("before");
            handle
                .set_filter("info,vpsie_autoscaler=warn,autoscaler_operator=debug")
                .unwrap();
            debug!("after");
            assert!(handle.filter().unwrap().contains("autoscaler_operator=debug"));

            // What cannot be understood changes nothing.
            assert!(matches!(
                handle.set_filter("autoscaler_operator=loud"),
                Err(Error::Filter { .. })
            ));
            debug!("still");
            handle.set_filter("off").unwrap();
            warn!("never");
        });
        let text = lines.take();
        let shown: Vec<_> = ["before", "after", "still", "never"]
            .into_iter()
            .filter(|word| text.contains(word))
            .collect();
        assert_eq!(shown, ["after", "still"], "{text}");
    }

    #[test]
    fn a_handle_without_subscriber_says_so() {
        let (subscriber, handle, _lines) = logging(LogFormat::Text, "info");
        drop(subscriber);
        assert!(matches!(handle.set_filter("debug"), Err(Error::Gone)));
        assert!(matches!(handle.filter(), Err(Error::Gone)));
    }

    #[test]
    fn bad_filters_are_refused_with_the_reason() {
        for (filter, reason) in [
            ("inf", "there is no such level"),
            ("verbose", "there is no such level"),
            ("", "it is empty"),
            (" ", "it is empty"),
            ("info,kube=loud", "error parsing level filter"),
        ] {
            let Err(error) = parse(filter) else {
                panic!("{filter:?} was taken")
            };
            let text = error.to_string();
            assert!(text.contains(&format!("{filter:?}")) && text.contains(reason), "{text}");
        }
        for filter in [
            "info",
            "WARN",
            "off",
            "kube_client=debug",
            "info,kube_client=warn",
            "autoscaler_scaler::drain=trace",
        ] {
            assert!(parse(filter).is_ok(), "{filter}");
        }
    }

    #[test]
    fn formats_are_named_as_arguments() {
        for format in LogFormat::value_variants() {
            assert_eq!(LogFormat::from_str(&format.to_string(), false), Ok(*format));
        }
    }
}
