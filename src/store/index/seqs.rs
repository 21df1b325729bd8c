//! The sequences of one subject's messages in order.
//!
//! One costs nothing more than its place; a few are one allocation, four bytes each; many are a tree of
//! such runs that counts what is below each node, so that every question and every removal takes
//! logarithmic time wherever it is.

use std::mem;

use crate::store::Seq;

/// Sequences in a run.
const RUN_MAX: usize = 256;
/// Runs this small are put together with a neighbour.
const RUN_SMALL: usize = 64;
/// Children of a node.
const NODE_MAX: usize = 128;
/// What is as short as this becomes one run again.
const FEW: u64 = 64;

/// See the module.
#[derive(Debug, Default)]
pub enum Seqs {
    /// There are none.
    #[default]
    None,
    /// One.
    One(Seq),
    /// In one run.
    Few(Run),
    /// In a tree.
    Many(Box<Node>),
}

/// Up to [`RUN_MAX`] sequences: the lower and the upper half of the first ever, and how far the others
/// are from that. One vector without anything beside it keeps `Seqs` at 24 bytes.
#[derive(Debug)]
pub struct Run(Vec<u32>);

/// Of the tree. All runs are equally deep.
#[derive(Debug)]
pub enum Node {
    /// Never empty, but for one that is about to be dropped.
    Leaf(Run),
    /// Never empty, as above.
    Inner(Vec<Child>),
}

/// Of a node.
#[derive(Debug)]
pub struct Child {
    /// Not above the first there, and above all of the children before.
    base: Seq,
    count: u64,
    node: Node,
}

const HEAD: usize = 2;

impl Run {
    fn new(seq: Seq) -> Self {
        Self::with_room(seq, 2)
    }

    fn with_room(seq: Seq, count: usize) -> Self {
        let mut words = Vec::with_capacity(HEAD + count.min(RUN_MAX));
        words.extend([seq as u32, (seq >> 32) as u32, 0]);
        Self(words)
    }

    /// Puts one in after all others. False when it cannot.
    fn push(&mut self, seq: Seq) -> bool {
        match u32::try_from(seq - self.base()) {
            Ok(offset) if self.len() < RUN_MAX => {
                self.grow();
                self.0.push(offset);
                true
            }
            _ => false,
        }
    }

    /// Makes room for one more: a million of these must not stand half empty.
    fn grow(&mut self) {
        if self.0.len() == self.0.capacity() {
            self.0.reserve_exact((self.0.len() / 4).max(4));
        }
    }

    fn base(&self) -> Seq {
        u64::from(self.0[0]) | u64::from(self.0[1]) << 32
    }

    fn len(&self) -> usize {
        self.0.len() - HEAD
    }

    fn offsets(&self) -> &[u32] {
        &self.0[HEAD..]
    }

    fn at(&self, place: usize) -> Option<Seq> {
        let offset = *self.offsets().get(place)?;
        Some(self.base() + u64::from(offset))
    }

    fn last(&self) -> Option<Seq> {
        self.at(self.len().wrapping_sub(1))
    }

    /// How many are below `seq`.
    fn rank(&self, seq: Seq) -> usize {
        let Some(offset) = seq.checked_sub(self.base()) else {
            return 0;
        };
        self.offsets()
            .partition_point(|&other| u64::from(other) < offset)
    }

    /// Puts one in. False when it cannot: too many, or too far from the first.
    #[inline]
    fn insert(&mut self, seq: Seq) -> bool {
        match self.last() {
            Some(last) if seq > last => self.push(seq),
            _ => self.insert_between(seq),
        }
    }

    fn insert_between(&mut self, seq: Seq) -> bool {
        if self.len() >= RUN_MAX {
            return false;
        }
        if seq < self.base() {
            let Some(last) = self.last() else {
                return false;
            };
            if last - seq > u64::from(u32::MAX) {
                return false;
            }
            let further = (self.base() - seq) as u32;
            for offset in &mut self.0[HEAD..] {
                *offset += further;
            }
            self.0[0] = seq as u32;
            self.0[1] = (seq >> 32) as u32;
        }
        let Ok(offset) = u32::try_from(seq - self.base()) else {
            return false;
        };
        let place = self.rank(seq);
        if self.offsets().get(place) == Some(&offset) {
            return true;
        }
        self.grow();
        self.0.insert(HEAD + place, offset);
        true
    }

    fn remove(&mut self, seq: Seq) -> bool {
        let place = self.rank(seq);
        let there = self.at(place) == Some(seq);
        if there {
            self.0.remove(HEAD + place);
        }
        there
    }

    /// The upper half.
    fn split(&mut self) -> Run {
        let half = self.len() / 2;
        let base = self.at(half).expect("it is full");
        let mut upper = Run::new(base);
        for place in half + 1..self.len() {
            upper.insert(self.at(place).expect("it is below the length"));
        }
        self.0.truncate(HEAD + half);
        upper
    }

    fn each(&self, each: &mut impl FnMut(Seq)) {
        let base = self.base();
        for &offset in self.offsets() {
            each(base + u64::from(offset));
        }
    }
}

impl Child {
    fn new(node: Node) -> Self {
        let (base, count) = match &node {
            Node::Leaf(run) => (run.at(0).unwrap_or(run.base()), run.len() as u64),
            Node::Inner(children) => (
                children.first().map_or(0, |child| child.base),
                children.iter().map(|child| child.count).sum(),
            ),
        };
        Self { base, count, node }
    }
}

/// The child that has `seq`, if any has.
#[inline]
fn child_of(children: &[Child], seq: Seq) -> usize {
    // Most come at the end.
    if children.last().is_some_and(|last| last.base <= seq) {
        return children.len() - 1;
    }
    let later = children.partition_point(|child| child.base <= seq);
    later.saturating_sub(1)
}

impl Node {
    fn first(&self) -> Option<Seq> {
        match self {
            Node::Leaf(run) => run.at(0),
            Node::Inner(children) => children.first()?.node.first(),
        }
    }

    fn last(&self) -> Option<Seq> {
        match self {
            Node::Leaf(run) => run.last(),
            Node::Inner(children) => children.last()?.node.last(),
        }
    }

    fn count(&self) -> u64 {
        match self {
            Node::Leaf(run) => run.len() as u64,
            Node::Inner(children) => children.iter().map(|child| child.count).sum(),
        }
    }

    fn rank(&self, seq: Seq) -> u64 {
        match self {
            Node::Leaf(run) => run.rank(seq) as u64,
            Node::Inner(children) => {
                let at = child_of(children, seq);
                let before: u64 = children[..at].iter().map(|child| child.count).sum();
                before + children.get(at).map_or(0, |child| child.node.rank(seq))
            }
        }
    }

    fn at_or_after(&self, seq: Seq) -> Option<Seq> {
        match self {
            Node::Leaf(run) => run.at(run.rank(seq)),
            Node::Inner(children) => {
                let at = child_of(children, seq);
                let found = children.get(at)?.node.at_or_after(seq);
                found.or_else(|| children.get(at + 1)?.node.first())
            }
        }
    }

    fn at_or_before(&self, seq: Seq) -> Option<Seq> {
        match self {
            Node::Leaf(run) => match run.rank(seq) {
                place if run.at(place) == Some(seq) => Some(seq),
                place => run.at(place.checked_sub(1)?),
            },
            Node::Inner(children) => {
                let at = child_of(children, seq);
                let found = children.get(at)?.node.at_or_before(seq);
                found.or_else(|| children.get(at.checked_sub(1)?)?.node.last())
            }
        }
    }

    /// Puts one in that is not there; what did not fit comes out as nodes that follow this one.
    fn insert(&mut self, seq: Seq) -> Option<Node> {
        match self {
            Node::Leaf(run) => {
                if run.insert(seq) {
                    return None;
                }
                // Most come at the end, and so runs are full rather than half full.
                if run.last().is_none_or(|last| last < seq) {
                    return Some(Node::Leaf(Run::with_room(seq, RUN_MAX)));
                }
                if run.at(0).is_some_and(|first| seq < first) {
                    let others = mem::replace(run, Run::new(seq));
                    return Some(Node::Leaf(others));
                }
                let mut upper = run.split();
                let into = if upper.base() <= seq { &mut upper } else { run };
                into.insert(seq);
                Some(Node::Leaf(upper))
            }
            Node::Inner(children) => {
                let at = child_of(children, seq);
                let child = &mut children[at];
                let more = child.node.insert(seq);
                child.base = child.base.min(seq);
                if more.is_none() {
                    child.count += 1;
                    return None;
                }
                child.count = child.node.count();
                children.insert(at + 1, Child::new(more?));
                if children.len() <= NODE_MAX {
                    return None;
                }
                // As above: what grows at its end only leaves full nodes behind.
                let keep = if at + 2 == children.len() {
                    NODE_MAX
                } else {
                    NODE_MAX / 2
                };
                Some(Node::Inner(children.split_off(keep)))
            }
        }
    }

    fn remove(&mut self, seq: Seq) -> bool {
        match self {
            Node::Leaf(run) => run.remove(seq),
            Node::Inner(children) => {
                let at = child_of(children, seq);
                let Some(child) = children.get_mut(at) else {
                    return false;
                };
                if !child.node.remove(seq) {
                    return false;
                }
                child.count -= 1;
                if child.count == 0 {
                    children.remove(at);
                } else if child.count < RUN_SMALL as u64 {
                    let _ = at > 0 && join(children, at - 1) || join(children, at);
                }
                true
            }
        }
    }

    fn each(&self, each: &mut impl FnMut(Seq)) {
        match self {
            Node::Leaf(run) => run.each(each),
            Node::Inner(children) => children.iter().for_each(|child| child.node.each(each)),
        }
    }
}

/// Puts a run and the next one together, if both together are short.
fn join(children: &mut Vec<Child>, at: usize) -> bool {
    let Some([one, other]) = children.get_mut(at..at + 2) else {
        return false;
    };
    let (Node::Leaf(run), Node::Leaf(next)) = (&mut one.node, &other.node) else {
        return false;
    };
    let near = next
        .last()
        .is_some_and(|last| last - run.base() <= u64::from(u32::MAX));
    if run.len() + next.len() > RUN_MAX - RUN_SMALL || !near {
        return false;
    }
    next.each(&mut |seq| {
        run.insert(seq);
    });
    one.count += other.count;
    children.remove(at + 1);
    true
}

impl Seqs {
    /// Of the next `count`, which are in order.
    pub fn of_sorted(sorted: &mut impl Iterator<Item = Seq>, count: usize) -> Self {
        let mut nodes: Vec<Node> = Vec::new();
        for (place, seq) in sorted.take(count).enumerate() {
            if count == 1 {
                return Self::One(seq);
            }
            let pushed = match nodes.last_mut() {
                Some(Node::Leaf(run)) => run.push(seq),
                _ => false,
            };
            if !pushed {
                nodes.push(Node::Leaf(Run::with_room(seq, count - place)));
            }
        }
        while nodes.len() > 1 {
            let mut below = nodes.into_iter().map(Child::new);
            nodes = Vec::new();
            while let Some(first) = below.next() {
                let others = below.by_ref().take(NODE_MAX - 1);
                nodes.push(Node::Inner([first].into_iter().chain(others).collect()));
            }
        }
        match nodes.pop() {
            Some(Node::Leaf(run)) => Self::Few(run),
            Some(node) => Self::Many(Box::new(node)),
            None => Self::None,
        }
    }

    /// How many.
    pub fn len(&self) -> u64 {
        match self {
            Seqs::None => 0,
            Seqs::One(_) => 1,
            Seqs::Few(run) => run.len() as u64,
            Seqs::Many(node) => node.count(),
        }
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        matches!(self, Seqs::None)
    }

    /// The first.
    pub fn first(&self) -> Option<Seq> {
        match self {
            Seqs::None => None,
            Seqs::One(seq) => Some(*seq),
            Seqs::Few(run) => run.at(0),
            Seqs::Many(node) => node.first(),
        }
    }

    /// The last.
    pub fn last(&self) -> Option<Seq> {
        match self {
            Seqs::None => None,
            Seqs::One(seq) => Some(*seq),
            Seqs::Few(run) => run.last(),
            Seqs::Many(node) => node.last(),
        }
    }

    /// The first at or after `seq`.
    pub fn at_or_after(&self, seq: Seq) -> Option<Seq> {
        match self {
            Seqs::None => None,
            Seqs::One(one) => (*one >= seq).then_some(*one),
            Seqs::Few(run) => run.at(run.rank(seq)),
            Seqs::Many(node) => node.at_or_after(seq),
        }
    }

    /// The last at or before `seq`.
    pub fn at_or_before(&self, seq: Seq) -> Option<Seq> {
        match self {
            Seqs::None => None,
            Seqs::One(one) => (*one <= seq).then_some(*one),
            Seqs::Few(run) => match run.rank(seq) {
                place if run.at(place) == Some(seq) => Some(seq),
                place => run.at(place.checked_sub(1)?),
            },
            Seqs::Many(node) => node.at_or_before(seq),
        }
    }

    /// How many are below `seq`.
    pub fn rank(&self, seq: Seq) -> u64 {
        match self {
            Seqs::None => 0,
            Seqs::One(one) => u64::from(*one < seq),
            Seqs::Few(run) => run.rank(seq) as u64,
            Seqs::Many(node) => node.rank(seq),
        }
    }

    /// Puts one in that is not there. Fastest at the end.
    pub fn insert(&mut self, seq: Seq) {
        match self {
            Seqs::None => *self = Seqs::One(seq),
            Seqs::One(one) => {
                let (low, high) = ((*one).min(seq), (*one).max(seq));
                let mut run = Run::new(low);
                *self = if run.insert(high) {
                    Seqs::Few(run)
                } else {
                    Self::many(Node::Leaf(run), Node::Leaf(Run::new(high)))
                };
            }
            Seqs::Few(run) => {
                if !run.insert(seq) {
                    let mut node = Node::Leaf(mem::replace(run, Run(Vec::new())));
                    *self = match node.insert(seq) {
                        Some(next) => Self::many(node, next),
                        None => Seqs::Many(Box::new(node)),
                    };
                }
            }
            Seqs::Many(node) => {
                if let Some(next) = node.insert(seq) {
                    let node = mem::replace(&mut **node, Node::Inner(Vec::new()));
                    *self = Self::many(node, next);
                }
            }
        }
    }

    fn many(node: Node, next: Node) -> Self {
        let children = vec![Child::new(node), Child::new(next)];
        Seqs::Many(Box::new(Node::Inner(children)))
    }

    /// Takes one out. Whether it was there.
    pub fn remove(&mut self, seq: Seq) -> bool {
        match self {
            Seqs::None => false,
            Seqs::One(one) => {
                let there = *one == seq;
                if there {
                    *self = Seqs::None;
                }
                there
            }
            Seqs::Few(run) => {
                let there = run.remove(seq);
                if run.len() == 1
                    && let Some(left) = run.at(0)
                {
                    *self = Seqs::One(left);
                } else if run.0.capacity() > 16 && run.0.len() < run.0.capacity() / 2 {
                    run.0.shrink_to(run.0.len() + 4);
                }
                there
            }
            Seqs::Many(node) => {
                let there = node.remove(seq);
                if there && node.count() <= FEW {
                    *self = self.shortened();
                }
                there
            }
        }
    }

    /// The same, no more than it needs.
    fn shortened(&self) -> Self {
        let mut anew = Seqs::None;
        self.each(&mut |seq| anew.insert(seq));
        anew
    }

    /// Calls for each below a sequence, in order.
    pub fn each_below(&self, below: Seq, each: &mut impl FnMut(Seq)) {
        let mut from = 0;
        while let Some(seq) = self.at_or_after(from)
            && seq < below
        {
            each(seq);
            from = seq + 1;
        }
    }

    /// Calls for each, in order.
    pub fn each(&self, each: &mut impl FnMut(Seq)) {
        match self {
            Seqs::None => {}
            Seqs::One(seq) => each(*seq),
            Seqs::Few(run) => run.each(each),
            Seqs::Many(node) => node.each(each),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::base::prng::Prng;

    /// Counts, bases and depths of a tree are right; gives the depth.
    fn check_node(node: &Node) -> u32 {
        match node {
            Node::Leaf(run) => {
                assert!(run.len() > 0 && run.len() <= RUN_MAX);
                assert!(run.offsets().is_sorted_by(|a, b| a < b));
                1
            }
            Node::Inner(children) => {
                assert!(!children.is_empty() && children.len() <= NODE_MAX);
                let mut depths = BTreeSet::new();
                for (place, child) in children.iter().enumerate() {
                    assert_eq!(child.count, child.node.count());
                    assert!(child.node.first().is_some_and(|first| first >= child.base));
                    let next = children.get(place + 1);
                    assert!(next.is_none_or(|next| child.node.last() < Some(next.base)));
                    depths.insert(check_node(&child.node));
                }
                assert_eq!(depths.len(), 1);
                depths.first().unwrap() + 1
            }
        }
    }

    fn compare(seqs: &Seqs, model: &BTreeSet<Seq>, prng: &mut Prng) {
        assert_eq!(seqs.len(), model.len() as u64);
        assert_eq!(seqs.is_empty(), model.is_empty());
        assert_eq!(seqs.first(), model.first().copied());
        assert_eq!(seqs.last(), model.last().copied());
        let span = model
            .last()
            .map_or(1, |last| last - model.first().unwrap() + 3);
        let at = model.first().map_or(5, |first| first.saturating_sub(1)) + prng.next_u64() % span;
        assert_eq!(seqs.at_or_after(at), model.range(at..).next().copied());
        assert_eq!(
            seqs.at_or_before(at),
            model.range(..=at).next_back().copied()
        );
        if model.len() < 300 || prng.one_in(500) {
            assert_eq!(seqs.rank(at), model.range(..at).count() as u64);
        }
    }

    #[test]
    fn against_an_ordered_set() {
        // Steps between those that come, one of so many comes between, and chances of going.
        let cases: &[(u64, u32, u32)] = &[
            (1, u32::MAX, 3),
            (3, 10, 3),
            (1 << 20, 2, 3),
            (1 << 33, 5, 3),
            (1, u32::MAX, 1000),
            (2, 3, 100),
        ];
        for (number, &(step, between, removes_one_in)) in cases.iter().enumerate() {
            let prng = &mut Prng::new(number as u64);
            let (mut seqs, mut model) = (Seqs::None, BTreeSet::new());
            let mut next = 1 << 40;
            // Once to fill it, once to empty it.
            for operation in 0..100_000 {
                let emptying = operation > 60_000;
                if prng.one_in(removes_one_in) || emptying && !prng.one_in(5) {
                    let at = match prng.below(3) {
                        0 => model.first().copied(),
                        1 => model.last().copied(),
                        _ => {
                            let low = model.first().copied().unwrap_or(0);
                            let span = next - low + 1;
                            seqs.at_or_after(low + prng.next_u64() % span)
                        }
                    };
                    let at = at.unwrap_or(7);
                    assert_eq!(seqs.remove(at), model.remove(&at));
                } else {
                    let seq = if prng.one_in(between) {
                        let low = model.first().map_or(1 << 40, |first| first - 10);
                        low + prng.next_u64() % (next - low + 1)
                    } else {
                        next += 1 + prng.next_u64() % step;
                        next
                    };
                    if model.insert(seq) {
                        seqs.insert(seq);
                    }
                }
                if operation % 7 == 0 {
                    compare(&seqs, &model, prng);
                }
                if operation % 5000 == 0 {
                    let mut all = Vec::new();
                    seqs.each(&mut |seq| all.push(seq));
                    assert!(all.iter().eq(model.iter()));
                    let again = Seqs::of_sorted(&mut all.iter().copied(), all.len());
                    compare(&again, &model, prng);
                    for seqs in [&seqs, &again] {
                        if let Seqs::Many(node) = seqs {
                            check_node(node);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_few_are_small() {
        assert_eq!(size_of::<Seqs>(), 24);
    }
}
