//! Asks the running operator, over plain HTTP: usually through `kubectl port-forward`.

use std::time::Duration;

use http::{Request, StatusCode, Uri, header::HOST};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use super::Subject;
use crate::{
    args::{ExplainSource, Output},
    command::{self, Failure},
};

/// How long the operator may take. It answers within seconds, one request after the other.
const LIMIT: Duration = Duration::from_secs(60);

/// Asks for what has these names and prints the answer.
///
/// # Errors
/// [`Failure::Input`] when the operator knows nothing of that name or its address is none; [`Failure::Failed`] when it cannot be
/// reached or does not explain.
pub(crate) async fn ask(subject: Subject, names: &[String], source: &ExplainSource) -> Result<(), Failure> {
    let url = &source.operator;
    let failed = |problem: &dyn std::fmt::Display| Failure::Failed(format!("the operator at {url}: {problem}"));
    let answer = timeout(LIMIT, get(url, &path(subject, names, source.output)))
        .await
        .map_err(|_| failed(&format_args!("no answer within {} s", LIMIT.as_secs())))?;
    let (status, body) = answer.map_err(|error| match error {
        Error::Address => Failure::Input(format!("--operator {url}: expected http://HOST[:PORT]")),
        error => failed(&command::with_causes(&error)),
    })?;
    let text = String::from_utf8(body).map_err(|error| failed(&error))?;
    match status {
        StatusCode::OK => command::print(&text),
        StatusCode::BAD_REQUEST => Err(Failure::input(text.trim_end())),
        StatusCode::NOT_FOUND if !text.is_empty() => Err(Failure::input(text.trim_end())),
        _ => Err(failed(&format_args!("{status}: {}", text.trim_end()))),
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the address is none")]
    Address,
    #[error("it cannot be reached; `kubectl port-forward` makes it reachable, and -f explains from a dump")]
    Connect(#[from] std::io::Error),
    #[error("it does not speak HTTP")]
    Http(#[from] hyper::Error),
    #[error("the request cannot be made")]
    Request(#[from] http::Error),
}

fn path(subject: Subject, names: &[String], output: Output) -> String {
    let output = match output {
        Output::Text => "text",
        Output::Json => "json",
    };
    let mut path = format!("{}?output={output}", subject.path());
    for name in names {
        path.push_str("&name=");
        for byte in name.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
                path.push(char::from(byte));
            } else {
                path.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    path
}

/// Status and body.
async fn get(url: &Uri, path: &str) -> Result<(StatusCode, Vec<u8>), Error> {
    let (Some("http"), Some(authority)) = (url.scheme_str(), url.authority()) else {
        return Err(Error::Address);
    };
    let port = authority.port_u16().unwrap_or(80);
    let stream = TcpStream::connect((authority.host().trim_matches(['[', ']']), port)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(format!("{}{path}", url.path().trim_end_matches('/')))
        .header(HOST, authority.as_str())
        .body(Empty::<Bytes>::new())?;
    // It ends with the sender, and the sender hears of its failures.
    drop(tokio::spawn(connection));
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, body.to_vec()))
}
