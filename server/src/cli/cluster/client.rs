//! One GET at the administration listener of the first node that answers.

use super::Target;
use crate::admin::report::ErrorReport;
use crate::config::{Config, DEFAULT_ADMIN_PORT, load};
use serde::de::DeserializeOwned;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an answer may pause; a node that asks others takes its time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// The most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// The most headers of an answer.
const HEADERS_MAX: usize = 64;

/// Why there is no answer.
#[derive(Debug)]
pub(in crate::cli) enum Failure {
    /// The question is wrong, or may not be asked.
    Question(String),
    /// Nobody answered it.
    Unreachable(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Question(what) => f.write_str(what),
            Self::Unreachable(what) => write!(
                f,
                "no node answered:\n{what}is a node running there, and is this its admin.bind and admin.port (--admin)?"
            ),
        }
    }
}

/// Asks nodes in turn.
#[derive(Debug)]
pub(super) struct Client {
    addresses: Vec<String>,
    token: Option<String>,
}

impl Client {
    /// A client of the nodes that the command line, the environment or the configuration names.
    pub(super) fn new(target: &Target) -> Result<Self, Failure> {
        let config = match &target.config {
            None => Config::default(),
            Some(path) => {
                let loaded = load(Some(path), &[], &[]);
                loaded
                    .map_err(|problems| Failure::Question(problems.to_string()))?
                    .config
            }
        };
        let named: Vec<String> = target
            .admin
            .iter()
            .map(|address| with_port(address.trim()))
            .collect();
        let addresses = if named.is_empty() {
            vec![configured(&config)?]
        } else {
            named
        };
        let file: Option<&Path> = target
            .token_file
            .as_deref()
            .or(config.admin.token_file.as_deref());
        let token = file.map(crate::admin::read_token).transpose();
        Ok(Self {
            addresses,
            token: token.map_err(|why| Failure::Question(format!("the token: {why}")))?,
        })
    }

    /// The body of the answer, and what it says. An answer that says "not well" is an answer.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<(String, T), Failure> {
        let mut silent = String::new();
        for address in &self.addresses {
            match self.ask(address, path) {
                Ok((status, body)) => match understand(status, body) {
                    Ok(answer) => return Ok(answer),
                    Err(Failure::Unreachable(why)) => silent += &format!("  {address}: {why}\n"),
                    Err(failure) => return Err(failure),
                },
                Err(error) => silent += &format!("  {address}: {error}\n"),
            }
        }
        Err(Failure::Unreachable(silent))
    }

    fn ask(&self, address: &str, path: &str) -> io::Result<(u16, String)> {
        let mut stream = connect(address)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        let token = self.token.as_ref();
        let token = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{token}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        read_answer(stream)
    }
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for found in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&found, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Reads until the answer is whole; whether the other side then closes does not matter.
fn read_answer(mut stream: impl Read) -> io::Result<(u16, String)> {
    let mut answer = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    while answer.len() < ANSWER_BYTES_MAX {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        answer.extend_from_slice(chunk.get(..count).unwrap_or_default());
        if let Some(parsed) = parse(&answer) {
            return Ok(parsed);
        }
    }
    let what = "the answer is not whole, or not HTTP";
    Err(io::Error::new(io::ErrorKind::InvalidData, what))
}

/// Status and body of an answer, if it is whole.
fn parse(answer: &[u8]) -> Option<(u16, String)> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head)) = response.parse(answer) else {
        return None;
    };
    let body = answer.get(head..)?;
    let mut lengths = response
        .headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length: usize = std::str::from_utf8(lengths.next()?.value)
        .ok()?
        .trim()
        .parse()
        .ok()?;
    if body.len() != length {
        return None;
    }
    Some((response.code?, String::from_utf8(body.to_vec()).ok()?))
}

/// What an answer comes to. A node that starts has no answer yet, so that the next one is asked.
fn understand<T: DeserializeOwned>(status: u16, body: String) -> Result<(String, T), Failure> {
    if let Ok(report) = serde_json::from_str::<T>(&body) {
        return Ok((body, report));
    }
    let said = serde_json::from_str::<ErrorReport>(&body).map(|report| report.error);
    match (status, said) {
        (400..500, Ok(said)) => Err(Failure::Question(said)),
        (_, Ok(said)) => Err(Failure::Unreachable(said)),
        (_, Err(error)) => Err(Failure::Unreachable(format!(
            "the answer (status {status}) is not of this version of chronik-server: {error}"
        ))),
    }
}

/// An address with the default port where it has none.
fn with_port(address: &str) -> String {
    let has_port = match address.rsplit_once(':') {
        None => false,
        Some((host, _)) => !host.contains(':') || host.ends_with(']'),
    };
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]:{DEFAULT_ADMIN_PORT}"),
        _ if has_port => address.to_owned(),
        _ => format!("{address}:{DEFAULT_ADMIN_PORT}"),
    }
}

/// Where a node with this configuration listens, from the same machine.
fn configured(config: &Config) -> Result<String, Failure> {
    let admin = &config.admin;
    let port = admin.port.unwrap_or(DEFAULT_ADMIN_PORT);
    if !admin.enabled {
        return Err(Failure::Question(
            "the configuration has admin.enabled = false".to_owned(),
        ));
    }
    if port == 0 {
        let what = "the configuration has admin.port = 0: the node's ready line names the port; give it with --admin";
        return Err(Failure::Question(what.to_owned()));
    }
    Ok(match admin.bind {
        IpAddr::V4(ip) if ip.is_unspecified() => format!("127.0.0.1:{port}"),
        IpAddr::V6(ip) if ip.is_unspecified() => format!("[::1]:{port}"),
        IpAddr::V4(ip) => format!("{ip}:{port}"),
        IpAddr::V6(ip) => format!("[{ip}]:{port}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_the_default_port_where_it_has_none() {
        for (given, expected) in [
            ("a", "a:9644"),
            ("a:1", "a:1"),
            ("10.0.0.7", "10.0.0.7:9644"),
            ("::1", "[::1]:9644"),
            ("[::1]", "[::1]:9644"),
            ("[::1]:2", "[::1]:2"),
        ] {
            assert_eq!(with_port(given), expected);
        }
    }

    #[test]
    fn an_answer_that_is_not_whole_is_none() {
        let whole = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(parse(whole), Some((503, "{}".to_owned())));
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn what_a_node_says_instead_of_an_answer_is_told() {
        let said = |status, body: &str| understand::<Vec<u8>>(status, body.to_owned()).unwrap_err();
        assert!(matches!(said(404, "{\"error\":\"no\"}"), Failure::Question(what) if what == "no"));
        assert!(
            matches!(said(503, "{\"error\":\"starts\"}"), Failure::Unreachable(what) if what == "starts")
        );
        assert!(matches!(said(200, "<html>"), Failure::Unreachable(_)));
        assert_eq!(understand::<Vec<u8>>(503, "[1]".to_owned()).unwrap().1, [1]);
    }
}
