//! What is known of each of an engine's peers, found by the place that the engine has it in.
//!
//! A place is used again, and for a moment both peers may be known: the one that the engine has just left, and the
//! next one, which took its place before the first was seen to go.

use slotmap::Key as _;
use smallvec::SmallVec;

use crate::swarm::PeerKey;

/// Values by peer.
#[derive(Debug)]
pub(super) struct PeerTable<T> {
    places: Vec<SmallVec<[(PeerKey, T); 1]>>,
    count: usize,
}

impl<T> Default for PeerTable<T> {
    fn default() -> Self {
        Self { places: Vec::new(), count: 0 }
    }
}

impl<T> PeerTable<T> {
    /// Peers in it.
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// What is known of a peer.
    pub(super) fn get(&self, peer: PeerKey) -> Option<&T> {
        self.places.get(place(peer))?.iter().find(|(key, _)| *key == peer).map(|(_, value)| value)
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, peer: PeerKey) -> Option<&mut T> {
        self.places.get_mut(place(peer))?.iter_mut().find(|(key, _)| *key == peer).map(|(_, value)| value)
    }

    /// A new peer.
    pub(super) fn insert(&mut self, peer: PeerKey, value: T) {
        let place = place(peer);
        if self.places.len() <= place {
            self.places.resize_with(place + 1, SmallVec::new);
        }
        self.places[place].push((peer, value));
        self.count += 1;
    }

    /// A peer that is gone.
    pub(super) fn remove(&mut self, peer: PeerKey) -> Option<T> {
        let there = self.places.get_mut(place(peer))?;
        let at = there.iter().position(|(key, _)| *key == peer)?;
        self.count -= 1;
        Some(there.remove(at).1)
    }
}

/// The low half of a key is its place, the high half tells those apart who had it.
fn place(peer: PeerKey) -> usize {
    (peer.data().as_ffi() & u64::from(u32::MAX)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotmap::SlotMap;

    #[test]
    fn the_next_one_may_come_before_the_last_one_is_gone() {
        let (mut keys, mut table) = (SlotMap::<PeerKey, ()>::with_key(), PeerTable::default());
        let [first, other] = [(); 2].map(|()| keys.insert(()));
        keys.remove(first);
        let next = keys.insert(());
        assert_eq!(place(first), place(next));
        for (peer, name) in [(first, "first"), (other, "other"), (next, "next")] {
            table.insert(peer, name);
        }
        assert_eq!((table.len(), table.get(first), table.get(next)), (3, Some(&"first"), Some(&"next")));
        assert_eq!((table.remove(first), table.remove(first)), (Some("first"), None));
        assert_eq!((table.len(), table.get(next), table.get(other)), (2, Some(&"next"), Some(&"other")));
        assert_eq!(table.get_mut(next), Some(&mut "next"));
    }
}
