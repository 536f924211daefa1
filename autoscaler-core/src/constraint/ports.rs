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

/// The host ports that pods of one node take, in order. One port may be there more than once: nothing stops pods that were
/// bound by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ports(Vec<HostPort>);

/// So many ports are put in and taken out one by one; more at once.
const FEW: usize = 8;

// === impl HostPort ===

impl HostPort {
    /// Whether two pods cannot both have these ports on one node: an address of all collides with every address.
    #[must_use]
    pub fn conflicts_with(&self, other: &Self) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip.is_none() || other.ip.is_none() || self.ip == other.ip)
    }

    /// `8080/TCP`, `10.0.0.1:8080/TCP` or `[::1]:8080/TCP`.
    #[must_use]
    pub fn text(&self, symbols: &Symbols) -> String {
        let (port, protocol) = (self.port, symbols.text(self.protocol));
        match self.ip {
            Some(ip) if symbols.text(ip).contains(':') => format!("[{}]:{port}/{protocol}", symbols.text(ip)),
            Some(ip) => format!("{}:{port}/{protocol}", symbols.text(ip)),
            None => format!("{port}/{protocol}"),
        }
    }
}

// === impl Ports ===

impl Ports {
    /// The first wanted port that is taken.
    pub(crate) fn conflict(&self, wanted: &[HostPort]) -> Option<HostPort> {
        wanted.iter().find(|port| self.takes(port)).copied()
    }

    pub(crate) fn take(&mut self, ports: &[HostPort]) {
        if FEW < ports.len() {
            self.0.extend_from_slice(ports);
            // A stable sort makes use of what is in order already.
            self.0.sort();
            return;
        }
        for port in ports {
            let index = self.0.partition_point(|taken| taken < port);
            self.0.insert(index, *port);
        }
    }

    pub(crate) fn give_back(&mut self, ports: &[HostPort]) {
        if FEW < ports.len() {
            let mut given = ports.to_vec();
            given.sort_unstable();
            let mut given = given.iter().peekable();
            self.0.retain(|taken| {
                // What was never taken cannot be given back.
                while given.next_if(|port| *port < taken).is_some() {}
                given.next_if(|port| *port == taken).is_none()
            });
            return;
        }
        for port in ports {
            if let Ok(index) = self.0.binary_search(port) {
                self.0.remove(index);
            }
        }
    }

    /// Whether a port that is taken conflicts with this one. Those of one number and protocol are together, the address of
    /// all first.
    fn takes(&self, port: &HostPort) -> bool {
        let of_all = HostPort { ip: None, ..*port };
        let first = self.0.partition_point(|taken| *taken < of_all);
        self.0.get(first).is_some_and(|taken| taken.conflicts_with(port)) || self.0.binary_search(port).is_ok()
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
    fn pods_with_many_ports_conflict_take_and_give_back_as_with_few() {
        let mut symbols = Symbols::default();
        let (tcp, udp) = (symbols.intern("TCP"), symbols.intern("UDP"));
        let addresses: Vec<_> = (0..30)
            .map(|index| symbols.intern(&format!("10.0.0.{index}")))
            .collect();
        let some = |start: usize, step: usize| -> Vec<HostPort> {
            let port = |index: usize| HostPort {
                port: 1000 + i32::try_from(index % 7).unwrap(),
                protocol: if index.is_multiple_of(3) { udp } else { tcp },
                ip: (!index.is_multiple_of(11)).then(|| addresses[index % addresses.len()]),
            };
            (start..start + 40 * step).step_by(step).map(port).collect()
        };
        let wanted = some(5, 3);
        for (one, other) in [
            (some(0, 1), some(17, 2)),
            (some(3, 5), some(8, 1)),
            (some(1, 2), some(0, 3)),
        ] {
            let (mut at_once, mut one_by_one) = (Ports::default(), Ports::default());
            for ports in [&one, &other] {
                at_once.take(ports);
                ports.iter().for_each(|port| one_by_one.take(&[*port]));
            }
            assert_eq!(at_once, one_by_one);
            let conflict = |port: &&HostPort| one.iter().chain(&other).any(|taken| port.conflicts_with(taken));
            assert_eq!(at_once.conflict(&wanted), wanted.iter().find(conflict).copied());
            at_once.give_back(&one);
            one.iter().for_each(|port| one_by_one.give_back(&[*port]));
            assert_eq!(at_once, one_by_one);
            at_once.give_back(&other);
            assert_eq!(at_once, Ports::default());
        }
    }

    #[test]
    fn sixty_thousand_ports_of_a_pod_are_no_trouble() {
        let mut symbols = Symbols::default();
        let protocol = symbols.intern("TCP");
        // Every second port, so that both pods fit, one after the other, in descending order.
        let every_second = |first: i32| -> Vec<HostPort> {
            let port = |port| HostPort {
                port,
                protocol,
                ip: None,
            };
            (first..first + 120_000).step_by(2).rev().map(port).collect()
        };
        let (one, other) = (every_second(1), every_second(2));
        let mut ports = Ports::default();
        ports.take(&one);
        assert_eq!(ports.conflict(&other), None);
        ports.take(&other);
        assert_eq!(ports.conflict(&one), one.first().copied());
        ports.give_back(&one);
        assert_eq!((ports.conflict(&one), ports.0.len()), (None, 60_000));
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
