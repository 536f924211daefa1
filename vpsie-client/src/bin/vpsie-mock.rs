//! Serves the mock VPSie API on a TCP address until SIGINT or SIGTERM.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use vpsie_client::mock::{MockConfig, MockVpsie};

/// A mock of the VPSie API: log in, then list, create, get and delete VMs, list offerings and datacenters.
///
/// VMs live in memory. Durations are written as 500ms, 10s or 2m.
#[derive(Debug, Parser)]
#[command(version, name = "vpsie-mock")]
struct Args {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:9090")]
    listen: SocketAddr,
    /// Time from create to running
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    provision_delay: Duration,
    /// Time from delete to gone
    #[arg(long, default_value = "5s", value_parser = parse_duration)]
    delete_delay: Duration,
    /// Time added to every request
    #[arg(long, default_value = "0s", value_parser = parse_duration)]
    latency: Duration,
    /// Life of an access token
    #[arg(long, default_value = "1h", value_parser = parse_duration)]
    token_life: Duration,
    /// Requests per minute; more are answered by 429 [default: no limit]
    #[arg(long)]
    rate_limit: Option<u32>,
    /// VMs at the same time; more are refused as the real API does it [default: no limit]
    #[arg(long)]
    worker_limit: Option<usize>,
    /// The clientId that may log in
    #[arg(long, default_value = "mock-client", env = "VPSIE_MOCK_CLIENT_ID")]
    client_id: String,
    /// The clientSecret that may log in
    #[arg(
        long,
        default_value = "mock-secret",
        env = "VPSIE_MOCK_CLIENT_SECRET",
        hide_env_values = true
    )]
    client_secret: String,
    /// A token that is valid without login; may be given several times
    #[arg(long = "token")]
    tokens: Vec<String>,
    /// Refuse a hostname that exists already
    #[arg(long)]
    unique_hostnames: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do when stderr is gone as well.
            let _: io::Result<()> = writeln!(io::stderr(), "vpsie-mock: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> io::Result<()> {
    let Args {
        listen,
        provision_delay,
        delete_delay,
        latency,
        token_life,
        rate_limit,
        worker_limit,
        client_id,
        client_secret,
        tokens,
        unique_hostnames,
    } = args;
    let mock = MockVpsie::new(MockConfig {
        client_id,
        client_secret,
        static_tokens: tokens,
        token_life,
        provision_delay,
        delete_delay,
        latency,
        rate_limit,
        worker_limit,
        unique_hostnames,
        ..MockConfig::default()
    });
    // Before the address is printed, so that whoever reads it may send a signal at once.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let server = mock.serve(listen).await?;
    let mut stdout = io::stdout();
    writeln!(stdout, "vpsie-mock listens on {}", server.base_url())?;
    stdout.flush()?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration: jiff::SignedDuration = text.parse().map_err(|error| format!("{error}"))?;
    let longest = jiff::SignedDuration::from_hours(24 * 365);
    if duration > longest {
        return Err("longer than a year".to_owned());
    }
    Duration::try_from(duration).map_err(|_| "negative".to_owned())
}
