//! A piece under way: which of its blocks are with nobody, asked for, or here.
//!
//! Invariant: `free`, `received` and `doubled` count the slots with nobody, here, and asked from more than one
//! peer; no slot below `first_free` is free.

use std::net::IpAddr;

use bytes::Bytes;
use smallvec::SmallVec;

use super::PeerKey;

/// One block of a piece under way.
#[derive(Clone, Debug)]
enum Slot {
    /// With nobody.
    Free,
    /// Asked from these peers.
    Requested(SmallVec<[PeerKey; 1]>),
    /// Here, given from this address (its peer may leave, and is still to blame).
    Received(IpAddr, Bytes),
}

/// A piece under way.
#[derive(Clone, Debug)]
pub struct Partial {
    slots: Vec<Slot>,
    free: u32,
    received: u32,
    doubled: u32,
    first_free: u32,
    /// While set, only this peer is asked: its piece failed before, and the giver is to be found.
    pub only: Option<PeerKey>,
}

/// What an arrived block means.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Taken; others are still missing.
    Taken,
    /// Taken, and it was the last one: verify.
    Complete,
    /// Not needed (any more).
    Useless,
}

impl Partial {
    /// A piece of so many blocks, none asked for.
    pub fn new(blocks: u32) -> Self {
        Self {
            slots: vec![Slot::Free; blocks as usize],
            free: blocks,
            received: 0,
            doubled: 0,
            first_free: 0,
            only: None,
        }
    }

    /// The same, to be given by one peer alone if there is one.
    pub fn of(only: Option<PeerKey>, blocks: u32) -> Self {
        Self { only, ..Self::new(blocks) }
    }

    /// Blocks with nobody.
    pub const fn free(&self) -> u32 {
        self.free
    }

    /// Blocks that are here.
    pub const fn received(&self) -> u32 {
        self.received
    }

    /// Blocks asked for or here.
    pub fn busy(&self) -> usize {
        self.slots.len() - self.free as usize
    }

    /// Blocks asked from more than one peer.
    pub const fn doubled(&self) -> u32 {
        self.doubled
    }

    /// Some blocks are here, and nobody is asked for the others.
    pub fn is_idle(&self) -> bool {
        self.received > 0 && self.free > 0 && self.busy() == self.received as usize
    }

    /// Blocks that are here while nobody is asked for the others.
    pub fn idle(&self) -> usize {
        if self.is_idle() { self.received as usize } else { 0 }
    }

    /// Whether a block can be asked from this peer.
    pub fn is_open_to(&self, peer: PeerKey) -> bool {
        self.free > 0 && self.only.is_none_or(|only| only == peer)
    }

    /// Who was asked for a block that is not here.
    pub fn asked(&self, block: u32) -> &[PeerKey] {
        match self.slots.get(block as usize) {
            Some(Slot::Requested(peers)) => peers,
            _ => &[],
        }
    }

    /// Who gave which block, in order, as far as they are here.
    pub fn givers(&self) -> impl Iterator<Item = (IpAddr, &Bytes)> {
        self.slots.iter().filter_map(|s| match s {
            Slot::Received(addr, data) => Some((*addr, data)),
            _ => None,
        })
    }

    /// Takes the first block with nobody for a peer.
    pub fn take(&mut self, peer: PeerKey) -> Option<u32> {
        let start = self.first_free as usize;
        let number = start + self.slots.get(start..)?.iter().position(|s| matches!(s, Slot::Free))?;
        self.first_free = u32::try_from(number).expect("as many slots as blocks, which are u32");
        self.slots[number] = Slot::Requested(SmallVec::from_buf([peer]));
        self.free -= 1;
        Some(self.first_free)
    }

    /// Asks one more peer for a block that somebody was asked for already; `false` when that makes no sense.
    pub fn take_again(&mut self, block: u32, peer: PeerKey) -> bool {
        match self.slots.get_mut(block as usize) {
            Some(Slot::Requested(peers)) if self.only.is_none() && !peers.contains(&peer) => {
                self.doubled += u32::from(peers.len() == 1);
                peers.push(peer);
                true
            }
            _ => false,
        }
    }

    /// The peer will not give this block. `true` when it is with nobody now.
    pub fn release(&mut self, block: u32, peer: PeerKey) -> bool {
        let Some(slot) = self.slots.get_mut(block as usize) else { return false };
        let Slot::Requested(peers) = slot else { return false };
        let before = peers.len();
        peers.retain(|p| *p != peer);
        self.doubled -= u32::from(before > 1 && peers.len() == 1);
        if !peers.is_empty() {
            return false;
        }
        *slot = Slot::Free;
        self.free += 1;
        self.first_free = self.first_free.min(block);
        true
    }

    /// A block arrived. `others` gets the peers that were asked for the same one.
    pub fn receive(
        &mut self,
        block: u32,
        (peer, addr): (PeerKey, IpAddr),
        data: Bytes,
        others: &mut SmallVec<[PeerKey; 1]>,
    ) -> Arrival {
        // Where one giver is wanted, what another one still had under way does not count.
        if self.only.is_some_and(|only| only != peer) {
            return Arrival::Useless;
        }
        match self.slots.get_mut(block as usize) {
            None | Some(Slot::Received(..)) => return Arrival::Useless,
            // Given up, and here after all.
            Some(slot @ Slot::Free) => {
                self.free -= 1;
                *slot = Slot::Received(addr, data);
            }
            Some(slot @ Slot::Requested(_)) => {
                if let Slot::Requested(peers) = std::mem::replace(slot, Slot::Received(addr, data)) {
                    self.doubled -= u32::from(peers.len() > 1);
                    others.extend(peers.into_iter().filter(|p| *p != peer));
                }
            }
        }
        self.received += 1;
        if self.received as usize == self.slots.len() { Arrival::Complete } else { Arrival::Taken }
    }
}
