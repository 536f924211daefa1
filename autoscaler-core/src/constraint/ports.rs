//! Host ports: which of them a node has in use, as kube-scheduler's `NodePorts` plugin sees it.

use crate::symbol::{Symbol, Symbols};

/// A port of the node that a pod takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// Number.
    pub port: i32,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Symbol,
    /// Address that it is bound to, or `None` for all (`0.0.0.0`).
    pub ip: Option<Symbol>,
}

/// The host ports that pods of one node take. One port may be there more than once: nothing stops pods that were bound
/// by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ports(Vec<HostPort>);

// === impl HostPort ===

impl HostPort {
    /// Whether two pods cannot both have these ports on one node: an address of all collides with every address.
    #[must_use]
    pub fn conflicts_with(&self, other: &Self) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip.is_none() || other.ip.is_none() || self.ip == other.ip)
    }

    /// `8080/TCP`, or `10.0.0.1:8080/TCP`.
    #[must_use]
    pub fn text(&self, symbols: &Symbols) -> String {
        let (port, protocol) = (self.port, symbols.text(self.protocol));
        match self.ip {
            Some(ip) => format!("{}:{port}/{protocol}", symbols.text(ip)),
            None => format!("{port}/{protocol}"),
        }
    }
}

// === impl Ports ===

impl Ports {
    /// The first wanted port that is taken.
    pub(crate) fn conflict(&self, wanted: &[HostPort]) -> Option<HostPort> {
        wanted
            .iter()
            .find(|port| self.0.iter().any(|taken| port.conflicts_with(taken)))
            .copied()
    }

    pub(crate) fn take(&mut self, ports: &[HostPort]) {
        for port in ports {
            let index = self.0.partition_point(|taken| taken < port);
            self.0.insert(index, *port);
        }
    }

    pub(crate) fn give_back(&mut self, ports: &[HostPort]) {
        for port in ports {
            if let Ok(index) = self.0.binary_search(port) {
                self.0.remove(index);
            }
        }
    }

    /// Takes what another node has in use.
    pub(crate) fn take_all(&mut self, other: &Self) {
        self.take(&other.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_all_collides_with_every_address() {
        let mut symbols = Symbols::default();
        let (tcp, udp) = (symbols.intern("TCP"), symbols.intern("UDP"));
        let (a, b) = (symbols.intern("10.0.0.1"), symbols.intern("10.0.0.2"));
        let port = |port, protocol, ip| HostPort { port, protocol, ip };
        for (one, other, expected) in [
            (port(80, tcp, None), port(80, tcp, None), true),
            (port(80, tcp, None), port(80, tcp, Some(a)), true),
            (port(80, tcp, Some(a)), port(80, tcp, None), true),
            (port(80, tcp, Some(a)), port(80, tcp, Some(a)), true),
            (port(80, tcp, Some(a)), port(80, tcp, Some(b)), false),
            (port(80, tcp, None), port(80, udp, None), false),
            (port(80, tcp, None), port(81, tcp, None), false),
        ] {
            assert_eq!(one.conflicts_with(&other), expected, "{one:?} {other:?}");
        }
        assert_eq!(port(80, tcp, Some(a)).text(&symbols), "10.0.0.1:80/TCP");
    }

    #[test]
    fn a_port_that_two_pods_take_stays_taken_until_both_are_gone() {
        let mut symbols = Symbols::default();
        let port = HostPort {
            port: 80,
            protocol: symbols.intern("TCP"),
            ip: None,
        };
        let mut ports = Ports::default();
        ports.take(&[port]);
        ports.take(&[port]);
        ports.give_back(&[port]);
        assert_eq!(ports.conflict(&[port]), Some(port));
        ports.give_back(&[port]);
        assert_eq!(ports.conflict(&[port]), None);
    }
}
