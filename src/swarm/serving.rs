//! Whom the source of a broadcast serves, where its owner has a say in that.

use std::collections::BTreeSet;
use std::net::IpAddr;

/// Whom we serve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    /// Most peers at a time; `None`: as many as the engine thinks right.
    pub most: Option<usize>,
    /// Peers at these addresses (none of them IPv4 in IPv6) always, besides.
    pub always: BTreeSet<IpAddr>,
}

impl Serving {
    /// Whether whoever is at this address is always served.
    pub fn favours(&self, ip: IpAddr) -> bool {
        self.always.contains(&ip.to_canonical())
    }
}
