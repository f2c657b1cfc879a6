//! Auxiliary seeders: machines that the owner of a broadcast has put beside its source, to be served before anybody
//! else. They are told by their addresses, whatever port they come from.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::metainfo::text::escape;

/// Longest host name (RFC 1035).
const MAX_NAME: usize = 253;

/// Some hosts, and the addresses of those that are known by them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuxSeeds {
    addresses: BTreeSet<IpAddr>,
    names: BTreeSet<String>,
}

/// Why some text names no auxiliary seeder. Fit for print.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" is not a host, such as tv.example.org, 192.0.2.7 or [2001:db8::7], with a port or without", escape(.0))]
pub struct NotAHost(String);

/// A name that cannot be resolved. Fit for print.
#[derive(Debug, thiserror::Error)]
#[error("the auxiliary seeder {name} has no address: {source}")]
pub struct NoAddress {
    name: String,
    source: std::io::Error,
}

impl AuxSeeds {
    /// Adds a host, with a port or without.
    ///
    /// # Errors
    /// When it can be neither a name nor an address.
    pub fn add(&mut self, text: &str) -> Result<(), NotAHost> {
        match address(text) {
            Some(ip) => _ = self.addresses.insert(ip.to_canonical()),
            None => _ = self.names.insert(name(text).ok_or_else(|| NotAHost(text.to_owned()))?.to_owned()),
        }
        Ok(())
    }

    /// Whether all addresses are known.
    pub fn is_resolved(&self) -> bool {
        self.names.is_empty()
    }

    /// Looks all names up, at the same time.
    ///
    /// # Errors
    /// When one has no address.
    pub async fn resolve(&mut self) -> Result<(), NoAddress> {
        let lookup = |name: String| async {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            let found = found.map(|addrs| addrs.map(|addr| addr.ip().to_canonical()).collect::<Vec<_>>());
            found.map_err(|source| NoAddress { name, source })
        };
        let lookups: Vec<_> = self.names.iter().map(|name| tokio::spawn(lookup(name.clone()))).collect();
        for (lookup, name) in lookups.into_iter().zip(&self.names) {
            let found = lookup.await;
            let found = found.map_err(|e| NoAddress { name: name.clone(), source: std::io::Error::other(e) });
            self.addresses.extend(found??);
        }
        self.names.clear();
        Ok(())
    }

    /// The known addresses.
    pub fn addresses(&self) -> &BTreeSet<IpAddr> {
        &self.addresses
    }
}

fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let bare = bare.and_then(|text| text.parse::<Ipv6Addr>().ok()).map(IpAddr::from);
    let with_port = || text.parse::<SocketAddr>().ok().map(|addr| addr.ip());
    bare.or_else(|| text.parse().ok()).or_else(with_port)
}

/// A host's name, without its port.
fn name(text: &str) -> Option<&str> {
    let name = match text.rsplit_once(':') {
        Some((name, port)) => port.parse::<u16>().ok().map(|_| name)?,
        None => text,
    };
    let usual = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    ((1..=MAX_NAME).contains(&name.len()) && name.bytes().all(usual)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(texts: &[&str]) -> AuxSeeds {
        let mut seeds = AuxSeeds::default();
        texts.iter().for_each(|text| seeds.add(text).unwrap());
        seeds
    }

    #[test]
    fn hosts_are_addresses_or_names_with_ports_or_without() {
        let seeds = of(&["192.0.2.7", "192.0.2.7:80", "::ffff:192.0.2.7"]);
        assert!(seeds.is_resolved());
        assert_eq!(seeds.addresses(), &["192.0.2.7".parse().unwrap()].into());
        let seeds = of(&["2001:db8::7", "[2001:db8::7]", "[2001:db8::7]:80"]);
        assert_eq!(seeds.addresses(), &["2001:db8::7".parse().unwrap()].into());
        let seeds = of(&["tv.example.org", "tv.example.org:8764", "box"]);
        assert_eq!(seeds.names, ["box", "tv.example.org"].map(str::to_owned).into());
        for bad in ["", ":80", "a b", "http://a", "a:b", "a:70000", "[a]", "[192.0.2.7]", &"a".repeat(254)] {
            let error = AuxSeeds::default().add(bad).unwrap_err().to_string();
            assert!(error.contains(bad), "{error}");
        }
    }

    #[tokio::test]
    async fn names_are_looked_up() {
        let mut seeds = of(&["localhost"]);
        assert!(!seeds.is_resolved() && seeds.addresses().is_empty());
        seeds.resolve().await.unwrap();
        assert!(seeds.is_resolved() && seeds.addresses().iter().all(IpAddr::is_loopback));
        assert!(!seeds.addresses().is_empty());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,24}") {
            let _ = AuxSeeds::default().add(&text);
        }
    }
}
