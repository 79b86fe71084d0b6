//! Where a segment still has to go: a tree, so that what is for several gateways is sent once over
//! the edges that their ways share.

use serde::{Deserialize, Serialize};

use crate::GatewayId;

/// Gateways that a segment may still have to pass on one way after its receiver.
pub const MOST_HOPS: usize = 8;

/// Gateways of a tree at most: so many fit into a header.
pub const MOST_GATEWAYS: usize = 24;

/// See the module documentation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// Whether it is for the receiver.
    pub here: bool,
    /// To whom the receiver sends it on, and what they do with it.
    pub on: Vec<(GatewayId, Tree)>,
}

impl Tree {
    /// It is for the receiver alone.
    #[must_use]
    pub fn here() -> Self {
        Self {
            here: true,
            on: Vec::new(),
        }
    }

    /// One way: who is to be passed after the receiver, the last being whom it is for.
    #[must_use]
    pub fn along(hops: &[GatewayId]) -> Self {
        let mut tree = Self::default();
        tree.add(hops);
        tree
    }

    /// Adds a way. Where it begins as others do, it shares their edges.
    pub fn add(&mut self, hops: &[GatewayId]) {
        let Some((next, rest)) = hops.split_first() else {
            self.here = true;
            return;
        };
        if let Some((_, branch)) = self.on.iter_mut().find(|(to, _)| to == next) {
            return branch.add(rest);
        }
        self.on.push((*next, Self::along(rest)));
    }

    /// Gateways on the longest way, and in all.
    fn size(&self) -> (usize, usize) {
        let each = self.on.iter().map(|(_, branch)| branch.size());
        each.fold((0, 0), |(depth, all), (deep, more)| {
            (depth.max(deep + 1), all + more + 1)
        })
    }

    /// Whether it is small enough, every way ends with somebody that it is for, and nobody gets it twice
    /// from one gateway.
    pub(crate) fn is_sound(&self) -> bool {
        let (depth, all) = self.size();
        depth <= MOST_HOPS && all <= MOST_GATEWAYS && self.has_ends()
    }

    fn has_ends(&self) -> bool {
        let twice = |place: usize| {
            let (to, before) = (&self.on[place].0, &self.on[..place]);
            before.iter().any(|(other, _)| other == to)
        };
        (self.here || !self.on.is_empty())
            && self.on.iter().all(|(_, branch)| branch.has_ends())
            && !(0..self.on.len()).any(twice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids<const N: usize>() -> [GatewayId; N] {
        std::array::from_fn(|_| GatewayId::generate())
    }

    #[test]
    fn ways_share_their_edges() {
        let [relay, one, two, alone] = ids();
        let mut tree = Tree::along(&[relay, one]);
        tree.add(&[relay, two]);
        tree.add(&[alone]);
        tree.add(&[alone, two]);
        assert_eq!(tree.on.len(), 2);
        assert_eq!(tree.on[0].1.on.len(), 2);
        assert!(!tree.here && tree.on[1].1.here);
        assert_eq!(tree.size(), (2, 5));
        assert!(tree.is_sound());
        tree.add(&[]);
        assert!(tree.here && tree.is_sound());
        assert_eq!(Tree::along(&[]), Tree::here());
    }

    #[test]
    fn unsound_trees_are_told() {
        assert!(!Tree::default().is_sound());
        let [one] = ids();
        let nobody = Tree {
            here: true,
            on: vec![(one, Tree::default())],
        };
        assert!(!nobody.is_sound());
        let twice = Tree {
            here: false,
            on: vec![(one, Tree::here()), (one, Tree::here())],
        };
        assert!(!twice.is_sound());
        assert!(Tree::along(&ids::<MOST_HOPS>()).is_sound());
        assert!(!Tree::along(&ids::<{ MOST_HOPS + 1 }>()).is_sound());
        let mut wide = Tree::default();
        for id in ids::<MOST_GATEWAYS>() {
            wide.add(&[id]);
        }
        assert!(wide.is_sound());
        wide.add(&ids::<1>());
        assert!(!wide.is_sound());
    }
}
