//! Subjects in order: a crit-bit tree (Bernstein's; a binary Patricia trie), so that those with a
//! prefix are found without looking at others.
//!
//! A node says at which bit the subjects below it part, so it is 12 bytes whatever the subjects are,
//! and the tree holds no byte of a subject: names are handed in. To have an order between a subject
//! and one that goes on after it, the end is a symbol below all bytes: a symbol is 9 bits.

/// Children with this bit are subjects, others are nodes.
const SUBJECT: u32 = 1 << 31;
/// The root of the empty tree.
const NOTHING: u32 = u32::MAX;
const SYMBOL_BITS: u32 = 9;

#[derive(Clone, Copy, Debug, Default)]
struct Node {
    /// Position of the symbol times 16, plus the bit in it from the highest.
    bit: u32,
    children: [u32; 2],
}

/// See the module.
#[derive(Debug)]
pub struct Order {
    nodes: Vec<Node>,
    free: Vec<u32>,
    root: u32,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            free: Vec::new(),
            root: NOTHING,
        }
    }
}

#[inline]
fn symbol(name: &[u8], position: usize) -> u32 {
    name.get(position).map_or(0, |&byte| u32::from(byte) + 1)
}

/// Whether a bit of a name is set.
#[inline]
fn side(name: &[u8], bit: u32) -> usize {
    let symbol = symbol(name, (bit >> 4) as usize);
    (symbol >> (SYMBOL_BITS - 1 - (bit & 15)) & 1) as usize
}

/// The first bit in which two names differ.
fn parting(one: &[u8], other: &[u8]) -> Option<u32> {
    let shorter = one.len().min(other.len());
    let same = one.iter().zip(other).position(|(a, b)| a != b);
    let position = same.unwrap_or(shorter);
    let differing = symbol(one, position) ^ symbol(other, position);
    let highest = differing.checked_ilog2()?;
    Some((position as u32) << 4 | (SYMBOL_BITS - 1 - highest))
}

impl Order {
    /// Whether there is no subject.
    pub fn is_empty(&self) -> bool {
        self.root == NOTHING
    }

    /// The subject at which the bits of `name` end: the only one that can be equal to it.
    fn nearest<'a>(&self, name: &[u8], name_of: &impl Fn(u32) -> &'a [u8]) -> (u32, &'a [u8]) {
        let mut at = self.root;
        while at & SUBJECT == 0 {
            let node = &self.nodes[at as usize];
            at = node.children[side(name, node.bit)];
        }
        (at, name_of(at & !SUBJECT))
    }

    /// Puts a subject in that is not there.
    pub fn insert<'a>(&mut self, subject: u32, name: &[u8], name_of: impl Fn(u32) -> &'a [u8]) {
        if self.is_empty() {
            self.root = SUBJECT | subject;
            return;
        }
        let (_, nearest) = self.nearest(name, &name_of);
        let Some(bit) = parting(name, nearest) else {
            return;
        };
        let mut above = None;
        let mut at = self.root;
        while at & SUBJECT == 0 && self.nodes[at as usize].bit < bit {
            let turn = side(name, self.nodes[at as usize].bit);
            above = Some((at, turn));
            at = self.nodes[at as usize].children[turn];
        }
        let node = self.node(bit, name, subject, at);
        self.hang(above, node);
    }

    fn node(&mut self, bit: u32, name: &[u8], subject: u32, other: u32) -> u32 {
        let mut children = [other; 2];
        children[side(name, bit)] = SUBJECT | subject;
        let node = Node { bit, children };
        if let Some(place) = self.free.pop() {
            self.nodes[place as usize] = node;
            return place;
        }
        if self.nodes.len() == self.nodes.capacity() {
            // As `Slab`: a large table must not stand half empty.
            self.nodes.reserve_exact((self.nodes.len() / 8).max(4));
        }
        self.nodes.push(node);
        self.nodes.len() as u32 - 1
    }

    fn hang(&mut self, above: Option<(u32, usize)>, node: u32) {
        match above {
            Some((place, turn)) => self.nodes[place as usize].children[turn] = node,
            None => self.root = node,
        }
    }

    /// Takes a subject out.
    pub fn remove(&mut self, subject: u32, name: &[u8]) {
        let mut above = None;
        let mut parent: Option<(u32, usize)> = None;
        let mut at = self.root;
        while at & SUBJECT == 0 {
            let turn = side(name, self.nodes[at as usize].bit);
            above = parent;
            parent = Some((at, turn));
            at = self.nodes[at as usize].children[turn];
        }
        if at != SUBJECT | subject {
            return;
        }
        match parent {
            None => *self = Self::default(),
            Some((place, turn)) => {
                let sibling = self.nodes[place as usize].children[1 - turn];
                self.hang(above, sibling);
                self.free.push(place);
            }
        }
    }

    fn below(&self, at: u32) -> Walk<'_> {
        let stack = if at == NOTHING { Vec::new() } else { vec![at] };
        Walk { order: self, stack }
    }

    /// Those that begin with `prefix`, in order.
    pub fn with_prefix<'a>(&self, prefix: &[u8], name_of: impl Fn(u32) -> &'a [u8]) -> Walk<'_> {
        if self.is_empty() {
            return self.below(NOTHING);
        }
        let end = (prefix.len() as u32) << 4;
        let mut top = self.root;
        while top & SUBJECT == 0 && self.nodes[top as usize].bit < end {
            let node = &self.nodes[top as usize];
            top = node.children[side(prefix, node.bit)];
        }
        // Bits between the nodes were not looked at: one subject shows them for all.
        let mut shown = top;
        while shown & SUBJECT == 0 {
            shown = self.nodes[shown as usize].children[0];
        }
        if name_of(shown & !SUBJECT).starts_with(prefix) {
            self.below(top)
        } else {
            self.below(NOTHING)
        }
    }

    /// Those that come after `name` (which need not be there), in order.
    pub fn after<'a>(&self, name: &[u8], name_of: impl Fn(u32) -> &'a [u8]) -> Walk<'_> {
        let mut stack = Vec::new();
        if !self.is_empty() {
            let (_, nearest) = self.nearest(name, &name_of);
            let bit = parting(name, nearest);
            let mut at = self.root;
            while at & SUBJECT == 0 && bit.is_none_or(|bit| self.nodes[at as usize].bit < bit) {
                let node = &self.nodes[at as usize];
                let turn = side(name, node.bit);
                if turn == 0 {
                    stack.push(node.children[1]);
                }
                at = node.children[turn];
            }
            // All that is left is on one side of the name.
            if bit.is_some_and(|bit| side(name, bit) == 0) {
                stack.push(at);
            }
        }
        Walk { order: self, stack }
    }

    /// The tree of `count` subjects that are given in order: much faster than one by one.
    pub fn of_sorted<'a>(sorted: impl Iterator<Item = (u32, &'a [u8])>, count: usize) -> Self {
        let mut order = Self::default();
        order.nodes.reserve_exact(count.saturating_sub(1));
        // Nodes from the root to the last subject.
        let mut spine: Vec<u32> = Vec::new();
        let mut previous: Option<&[u8]> = None;
        for (subject, name) in sorted {
            let Some(bit) = previous.replace(name).and_then(|last| parting(last, name)) else {
                order.root = SUBJECT | subject;
                continue;
            };
            while spine
                .last()
                .is_some_and(|&node| order.nodes[node as usize].bit > bit)
            {
                spine.pop();
            }
            let above = spine.last().map(|&node| (node, 1));
            let below = match above {
                Some((place, turn)) => order.nodes[place as usize].children[turn],
                None => order.root,
            };
            let node = order.node(bit, name, subject, below);
            order.hang(above, node);
            spine.push(node);
        }
        order
    }
}

/// Subjects in order.
pub struct Walk<'a> {
    order: &'a Order,
    stack: Vec<u32>,
}

impl Iterator for Walk<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let mut at = self.stack.pop()?;
        while at & SUBJECT == 0 {
            let [low, high] = self.order.nodes[at as usize].children;
            self.stack.push(high);
            at = low;
        }
        Some(at & !SUBJECT)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::base::prng::Prng;

    #[test]
    fn against_an_ordered_map() {
        for seed in 0..25 {
            let prng = &mut Prng::new(seed);
            let mut order = Order::default();
            let mut model: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
            let mut names: Vec<Vec<u8>> = Vec::new();
            for _ in 0..400 {
                let len = prng.below(6);
                let name: Vec<u8> = (0..len)
                    .map(|_| [0, b'.', b'a', 0xff][prng.below(4) as usize])
                    .collect();
                let name_of = |subject: u32| names[subject as usize].as_slice();
                let after = order.after(&name, name_of);
                let expected = model
                    .range(name.clone()..)
                    .filter(|(other, _)| **other != name);
                assert!(after.eq(expected.map(|(_, &subject)| subject)));
                let with_prefix = order.with_prefix(&name, name_of);
                let expected = model.iter().filter(|(other, _)| other.starts_with(&name));
                assert!(with_prefix.eq(expected.map(|(_, &subject)| subject)));
                if let Some(subject) = model.remove(&name) {
                    order.remove(subject, &name);
                } else {
                    let subject = names.len() as u32;
                    model.insert(name.clone(), subject);
                    order.insert(subject, &name, name_of);
                    names.push(name);
                }
                let name_of = |subject: u32| names[subject as usize].as_slice();
                let sorted = model
                    .iter()
                    .map(|(name, &subject)| (subject, name.as_slice()));
                let again = Order::of_sorted(sorted, model.len());
                for order in [&order, &again] {
                    assert!(order.with_prefix(b"", name_of).eq(model.values().copied()));
                    assert!(order.nodes.len() >= model.len().saturating_sub(1));
                    assert_eq!(
                        order.nodes.len() - order.free.len(),
                        model.len().saturating_sub(1)
                    );
                }
            }
        }
    }
}
