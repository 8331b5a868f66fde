//! The address that clients are told to connect to.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::value::FromText;

/// A host, and the port if it differs from the one that the listener got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertise {
    /// A host name or an IP address, without brackets.
    pub host: String,
    /// The port; unset, the listener's own.
    pub port: Option<u16>,
}

impl FromText for Advertise {}

impl FromStr for Advertise {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = split(text)?;
        let port = match port {
            None => None,
            Some(digits) => match digits.parse::<u16>() {
                Ok(port) if port != 0 => Some(port),
                _ => {
                    return Err(format!(
                        "has a bad port `{digits}`: a port is a number from 1 to 65535"
                    ));
                }
            },
        };
        match host.parse::<IpAddr>() {
            Ok(address) if address.is_unspecified() => {
                return Err(
                    "cannot be connected to: it means \"any address\" and is only good for kafka.bind".into(),
                );
            }
            Ok(_) => {}
            Err(_) if is_host_name(host) => {}
            Err(_) => return Err("is not a host name or an IP address".into()),
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Advertise {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.port, self.host.contains(':')) {
            (None, _) => out.write_str(&self.host),
            (Some(port), false) => write!(out, "{}:{port}", self.host),
            (Some(port), true) => write!(out, "[{}]:{port}", self.host),
        }
    }
}

fn split(text: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("has no closing bracket")?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err("has something other than a port after the bracket".into()),
        };
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Ok((text, None)),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

/// RFC 1123, and the underscore that container networks use.
pub(super) fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    text.len() <= 253 && text.strip_suffix('.').unwrap_or(text).split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_and_without_a_port_are_read_and_shown_alike() {
        for (text, host, port) in [
            ("broker-1.example.com", "broker-1.example.com", None),
            ("broker-1:19092", "broker-1", Some(19092)),
            ("10.0.0.7:9092", "10.0.0.7", Some(9092)),
            ("::1", "::1", None),
            ("[::1]:9092", "::1", Some(9092)),
        ] {
            let address: Advertise = text.parse().expect(text);
            assert_eq!((address.host.as_str(), address.port), (host, port), "{text}");
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn what_no_client_could_connect_to_is_refused() {
        for text in [
            "",
            "0.0.0.0",
            "[::]:9092",
            "host:0",
            "host:70000",
            "host:",
            "a b",
            "-x",
            "http://x",
            "[::1",
        ] {
            assert!(text.parse::<Advertise>().is_err(), "{text}");
        }
    }
}
