//! The addresses of nodes among each other.

use std::fmt;
use std::str::FromStr;

use super::address::is_host_name;
use super::value::FromText;

/// A host and a port, both given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A host name or an IP address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A node and where it listens for other nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    /// The node.
    pub node: u64,
    /// Where it listens.
    pub endpoint: Endpoint,
}

impl FromText for Endpoint {}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = text.rsplit_once(':').ok_or("has no port: write host:port")?;
        let port = match port.parse::<u16>() {
            Ok(port) if port != 0 => port,
            _ => {
                return Err(format!(
                    "has a bad port `{port}`: a port is a number from 1 to 65535"
                ));
            }
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match (bare, host.contains(':')) {
            (Some(bare), _) => bare,
            (None, true) => return Err("is an IPv6 address without brackets: write [address]:port".into()),
            (None, false) => host,
        };
        match host.parse::<std::net::IpAddr>() {
            Ok(address) if address.is_unspecified() => {
                Err("cannot be connected to: it means \"any address\" and is only good for listening".into())
            }
            Ok(_) => Ok(host),
            Err(_) if bare.is_none() && is_host_name(host) => Ok(host),
            Err(_) => Err("is not a host name or an IP address, and a port".to_owned()),
        }
        .map(|host| Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(out, "[{}]:{}", self.host, self.port)
        } else {
            write!(out, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for PeerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (node, endpoint) = text.split_once('@').ok_or("has no node id: write id@host:port")?;
        let node = match node.parse::<i32>() {
            Ok(node) if node >= 0 => node.unsigned_abs(),
            _ => {
                return Err(format!(
                    "has a bad node id `{node}`: an id is a whole number from 0 to {}",
                    i32::MAX
                ));
            }
        };
        let node = u64::from(node);
        endpoint.parse().map(|endpoint| Self { node, endpoint })
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}@{}", self.node, self.endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_read_and_shown_alike() {
        for (text, node, host, port) in [
            ("2@localhost:5002", 2, "localhost", 5002),
            ("0@chronik-1:5001", 0, "chronik-1", 5001),
            ("7@10.0.0.7:1", 7, "10.0.0.7", 1),
            ("3@[::1]:5003", 3, "::1", 5003),
        ] {
            let peer: PeerAddress = text.parse().expect(text);
            let Endpoint {
                host: found,
                port: at,
            } = &peer.endpoint;
            assert_eq!((peer.node, found.as_str(), *at), (node, host, port), "{text}");
            assert_eq!(peer.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_peer_is_refused() {
        for text in [
            "",
            "localhost:5002",
            "2@localhost",
            "2@localhost:0",
            "2@:5002",
            "-1@h:1",
            "99999999999@h:1",
            "2@0.0.0.0:5002",
            "2@::1:5002",
            "2@[h]:5002",
            "2@h:5002,3@h:5003",
        ] {
            assert!(text.parse::<PeerAddress>().is_err(), "{text}");
        }
    }
}
