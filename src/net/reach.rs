//! How far away an address is, and what a torrent's author may make us ask for there.
//!
//! URLs of trackers come from strangers: a torrent must not be a way to reach what listens on the viewer's own
//! machine or behind his router (server-side request forgery; the rules follow libtorrent's audit of 2020, F1):
//! on this machine only a path that begins with `/announce` is asked for, and no redirect leads inwards.

use std::net::{IpAddr, Ipv6Addr};

/// How far away an address is; the smaller the closer.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// This machine, or what its link answers for it (169.254.169.254 of cloud hosts).
    Machine,
    /// The network behind the router.
    Network,
    /// The internet.
    World,
}

impl Reach {
    pub(super) fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, ..] = ip.octets();
                if ip.is_loopback() || ip.is_link_local() || a == 0 || ip.is_multicast() || ip.is_broadcast()
                {
                    Self::Machine
                } else if ip.is_private() || (a == 100 && b & 0xc0 == 64) {
                    // RFC 6598: 100.64.0.0/10 is a provider's own network.
                    Self::Network
                } else {
                    Self::World
                }
            }
            IpAddr::V6(ip) => Self::of_v6(ip),
        }
    }

    const fn of_v6(ip: Ipv6Addr) -> Self {
        if ip.is_loopback() || ip.is_unspecified() || ip.is_unicast_link_local() || ip.is_multicast() {
            Self::Machine
        } else if ip.is_unique_local() {
            Self::Network
        } else {
            Self::World
        }
    }

    /// Whether a path there may be asked for, by a server that is `from` there or by the torrent itself.
    pub(super) fn allows(self, path: &str, from: Option<Self>) -> bool {
        let inwards = from.is_some_and(|from| self < from);
        !inwards && (self != Self::Machine || path.starts_with("/announce"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(ip: &str) -> Reach {
        Reach::of(ip.parse().unwrap())
    }

    #[test]
    fn addresses_know_how_far_away_they_are() {
        for ip in [
            "127.9.9.9",
            "::1",
            "::",
            "0.0.0.0",
            "169.254.169.254",
            "fe80::1",
            "::ffff:127.0.0.1",
            "224.0.0.1",
        ] {
            assert_eq!(reach(ip), Reach::Machine, "{ip}");
        }
        for ip in ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1"] {
            assert_eq!(reach(ip), Reach::Network, "{ip}");
        }
        for ip in ["1.1.1.1", "100.128.0.1", "172.32.0.1", "2606:4700::1111"] {
            assert_eq!(reach(ip), Reach::World, "{ip}");
        }
    }

    #[test]
    fn a_torrent_cannot_reach_other_services_of_this_machine() {
        assert!(Reach::Machine.allows("/announce", None));
        assert!(!Reach::Machine.allows("/api/shutdown", None));
        assert!(Reach::Network.allows("/tracker/announce", None));
        assert!(!Reach::Machine.allows("/announce", Some(Reach::World)));
        assert!(!Reach::Network.allows("/announce", Some(Reach::World)));
        assert!(Reach::Machine.allows("/announce", Some(Reach::Machine)));
        assert!(Reach::World.allows("/x", Some(Reach::Machine)));
    }
}
