//! From a published subject to the patterns that match it.
//!
//! Literal patterns lie in one hash table, probed once per subject. Patterns with wildcards lie
//! in a token tree whose edges are one hash table too, keyed by (node, token): a walk costs one
//! probe per token and branch, and nothing when there is no wildcard. Nothing is allocated to
//! match; an insert allocates the pattern's text and a node per new token.
//!
//! A literal pattern costs 32 bytes, its text, and about six bytes of table.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::{ANY_TAIL, ANY_TOKEN, SEPARATOR, is_literal};
use crate::base::slab::Slab;

/// A pattern's place in the index; dense, so that others can keep a table beside it.
pub type EntryId = u32;

const NONE: u32 = u32::MAX;
const ROOT: u32 = 0;

/// Hashes subjects with a seed that peers cannot know, so that nobody can choose subjects which
/// collide. All shards share one, so that a hash made on one is good on another.
#[derive(Clone, Debug)]
pub struct SubjectHash(FixedState);

impl SubjectHash {
    /// Hashes with this seed.
    pub fn new(seed: u64) -> Self {
        Self(FixedState::with_seed(seed))
    }

    /// The hash of a subject or of a token.
    #[inline]
    pub fn of(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write(bytes);
        hasher.finish()
    }
}

/// One pattern. Exists as long as somebody holds it.
#[derive(Debug, Default)]
struct Entry {
    text: Box<[u8]>,
    /// The tree node of a pattern with wildcards; `NONE` for a literal one.
    node: u32,
}

/// One token of the tree.
#[derive(Debug)]
struct Node {
    token: Box<[u8]>,
    parent: u32,
    /// The child for `*`.
    any: u32,
    /// The entry of the pattern that continues with `>` here.
    tail: EntryId,
    /// The entry of the pattern that ends here.
    entry: EntryId,
    /// Literal children, found in `Index::edges`.
    children: u32,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            token: Box::default(),
            parent: NONE,
            any: NONE,
            tail: NONE,
            entry: NONE,
            children: 0,
        }
    }
}

impl Node {
    fn is_unused(&self) -> bool {
        self.any == NONE && self.tail == NONE && self.entry == NONE && self.children == 0
    }
}

/// The patterns of one account.
#[derive(Debug)]
pub struct Index {
    hash: SubjectHash,
    entries: Slab<Entry>,
    literals: HashTable<EntryId>,
    nodes: Slab<Node>,
    edges: HashTable<u32>,
    wildcards: usize,
}

impl Index {
    /// An empty index.
    pub fn new(hash: SubjectHash) -> Self {
        let mut nodes = Slab::default();
        let root = nodes.insert(Node::default());
        debug_assert_eq!(root, ROOT);
        Self {
            hash,
            entries: Slab::default(),
            literals: HashTable::new(),
            nodes,
            edges: HashTable::new(),
            wildcards: 0,
        }
    }

    /// How many patterns there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many of them have wildcards.
    pub fn wildcards(&self) -> usize {
        self.wildcards
    }

    /// The hasher this index was made with.
    pub fn hasher(&self) -> &SubjectHash {
        &self.hash
    }

    /// The text of a pattern.
    pub fn text(&self, entry: EntryId) -> &[u8] {
        &self.entries[entry].text
    }

    /// Whether a pattern has no wildcard.
    pub fn is_literal(&self, entry: EntryId) -> bool {
        self.entries[entry].node == NONE
    }

    /// The entry of exactly this pattern.
    pub fn find(&self, pattern: &[u8]) -> Option<EntryId> {
        if is_literal(pattern) {
            return self.find_literal(pattern, self.hash.of(pattern));
        }
        let mut node = ROOT;
        for token in pattern.split(|&b| b == SEPARATOR) {
            if token == ANY_TAIL {
                return some(self.nodes[node].tail);
            }
            node = if token == ANY_TOKEN {
                some(self.nodes[node].any)?
            } else {
                self.child(node, token, self.hash.of(token))?
            };
        }
        some(self.nodes[node].entry)
    }

    /// The entry of this pattern, made if need be, and whether it was made.
    pub fn insert(&mut self, pattern: &[u8]) -> (EntryId, bool) {
        if let Some(entry) = self.find(pattern) {
            return (entry, false);
        }
        let literal = is_literal(pattern);
        let entry = self.entries.insert(Entry {
            text: pattern.into(),
            node: NONE,
        });
        if literal {
            let hash = self.hash.of(pattern);
            let (entries, hasher) = (&self.entries, &self.hash);
            self.literals
                .insert_unique(hash, entry, |&e| hasher.of(&entries[e].text));
        } else {
            self.wildcards += 1;
            self.insert_wildcard(pattern, entry);
        }
        (entry, true)
    }

    /// Takes a pattern out. Its place may be given to another one afterwards.
    pub fn remove(&mut self, entry: EntryId) {
        let Entry { text, node } = self.entries.remove(entry);
        if node == NONE {
            let hash = self.hash.of(&text);
            if let Ok(found) = self.literals.find_entry(hash, |&e| e == entry) {
                found.remove();
            }
            return;
        }
        self.wildcards -= 1;
        if self.nodes[node].tail == entry {
            self.nodes[node].tail = NONE;
        } else {
            self.nodes[node].entry = NONE;
        }
        self.prune(node);
    }

    /// Calls `found` with each pattern that matches the literal `subject`, whose hash is `hash`.
    #[inline]
    pub fn for_each_match(&self, subject: &[u8], hash: u64, mut found: impl FnMut(EntryId)) {
        if let Some(entry) = self.find_literal(subject, hash) {
            found(entry);
        }
        if self.wildcards > 0 {
            self.walk(ROOT, Some(subject), &mut found);
        }
    }

    /// How many bytes of a subject decide which patterns with wildcards match it: those up to the last
    /// token that some pattern might ask for by name. Of what follows, only the number of tokens
    /// counts.
    pub fn decisive_bytes(&self, subject: &[u8]) -> usize {
        self.decisive_below(ROOT, Some(subject), subject.len())
    }

    fn decisive_below(&self, mut node: u32, mut rest: Option<&[u8]>, whole: usize) -> usize {
        let mut decisive = 0;
        while let Some(tokens) = rest {
            let here = &self.nodes[node];
            let end = memchr::memchr(SEPARATOR, tokens);
            let token = &tokens[..end.unwrap_or(tokens.len())];
            rest = end.map(|end| &tokens[end + 1..]);
            let child = if here.children > 0 {
                decisive = decisive.max(whole - rest.map_or(0, <[u8]>::len));
                self.child(node, token, self.hash.of(token))
            } else {
                None
            };
            if let Some(any) = some(here.any)
                && child.is_some()
            {
                decisive = decisive.max(self.decisive_below(any, rest, whole));
            }
            match child.or(some(here.any)) {
                Some(next) => node = next,
                None => break,
            }
        }
        decisive
    }

    /// Whether there is a pattern without wildcards that is this subject.
    #[inline]
    pub fn has_literal(&self, subject: &[u8], hash: u64) -> bool {
        self.find_literal(subject, hash).is_some()
    }

    #[inline]
    fn find_literal(&self, subject: &[u8], hash: u64) -> Option<EntryId> {
        self.literals
            .find(hash, |&e| *self.entries[e].text == *subject)
            .copied()
    }

    /// Follows `rest`, the tokens still to match below `node`; `None` when there are none left.
    /// Recursion is one level per `*` passed, and literal steps loop, so its depth is bounded by
    /// the tokens of the patterns stored.
    fn walk(&self, mut node: u32, mut rest: Option<&[u8]>, found: &mut impl FnMut(EntryId)) {
        loop {
            let here = &self.nodes[node];
            let Some(tokens) = rest else {
                if here.entry != NONE {
                    found(here.entry);
                }
                return;
            };
            if here.tail != NONE {
                found(here.tail);
            }
            if here.any == NONE && here.children == 0 {
                return;
            }
            let (token, after) = match tokens.iter().position(|&b| b == SEPARATOR) {
                Some(at) => (&tokens[..at], Some(&tokens[at + 1..])),
                None => (tokens, None),
            };
            let child = if here.children > 0 {
                self.child(node, token, self.hash.of(token))
            } else {
                None
            };
            match (child, some(here.any)) {
                (Some(child), Some(any)) => {
                    self.walk(any, after, found);
                    node = child;
                }
                (Some(next), None) | (None, Some(next)) => node = next,
                (None, None) => return,
            }
            rest = after;
        }
    }

    #[inline]
    fn child(&self, parent: u32, token: &[u8], token_hash: u64) -> Option<u32> {
        self.edges
            .find(edge_hash(parent, token_hash), |&n| {
                let node = &self.nodes[n];
                node.parent == parent && *node.token == *token
            })
            .copied()
    }

    fn insert_wildcard(&mut self, pattern: &[u8], entry: EntryId) {
        let mut node = ROOT;
        for token in pattern.split(|&b| b == SEPARATOR) {
            if token == ANY_TAIL {
                self.nodes[node].tail = entry;
                self.entries[entry].node = node;
                return;
            }
            node = if token == ANY_TOKEN {
                self.any_child_or_new(node)
            } else {
                self.child_or_new(node, token)
            };
        }
        self.nodes[node].entry = entry;
        self.entries[entry].node = node;
    }

    fn any_child_or_new(&mut self, parent: u32) -> u32 {
        if let Some(child) = some(self.nodes[parent].any) {
            return child;
        }
        let child = self.nodes.insert(Node {
            token: ANY_TOKEN.into(),
            parent,
            ..Node::default()
        });
        self.nodes[parent].any = child;
        child
    }

    fn child_or_new(&mut self, parent: u32, token: &[u8]) -> u32 {
        let token_hash = self.hash.of(token);
        if let Some(child) = self.child(parent, token, token_hash) {
            return child;
        }
        let child = self.nodes.insert(Node {
            token: token.into(),
            parent,
            ..Node::default()
        });
        self.nodes[parent].children += 1;
        let (nodes, hasher) = (&self.nodes, &self.hash);
        self.edges
            .insert_unique(edge_hash(parent, token_hash), child, |&n| {
                edge_hash(nodes[n].parent, hasher.of(&nodes[n].token))
            });
        child
    }

    /// Removes `node` and its ancestors as far as nothing needs them.
    fn prune(&mut self, mut node: u32) {
        while node != ROOT && self.nodes[node].is_unused() {
            let Node { token, parent, .. } = self.nodes.remove(node);
            if self.nodes[parent].any == node {
                self.nodes[parent].any = NONE;
            } else {
                self.nodes[parent].children -= 1;
                let hash = edge_hash(parent, self.hash.of(&token));
                if let Ok(found) = self.edges.find_entry(hash, |&n| n == node) {
                    found.remove();
                }
            }
            node = parent;
        }
    }
}

#[inline]
fn some(place: u32) -> Option<u32> {
    (place != NONE).then_some(place)
}

#[inline]
fn edge_hash(parent: u32, token_hash: u64) -> u64 {
    (token_hash ^ u64::from(parent)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;
    use std::collections::BTreeMap;

    fn index() -> Index {
        Index::new(SubjectHash::new(1))
    }

    fn found(index: &Index, subject: &[u8]) -> Vec<EntryId> {
        let mut entries = Vec::new();
        index.for_each_match(subject, index.hasher().of(subject), |e| entries.push(e));
        entries.sort_unstable();
        entries
    }

    fn random_pattern(prng: &mut Prng, wildcards: bool) -> Vec<u8> {
        let tokens = 1 + prng.below(4);
        let mut text = Vec::new();
        for n in 0..tokens {
            if n > 0 {
                text.push(b'.');
            }
            match prng.below(if wildcards { 7 } else { 4 }) {
                5 => text.push(b'*'),
                6 if n + 1 == tokens => text.push(b'>'),
                k => text.push(b'a' + (k % 4) as u8),
            }
        }
        text
    }

    /// Inserts and removes at random, comparing each match with the definition.
    #[test]
    fn agrees_with_the_naive_matcher() {
        for seed in 0..60 {
            let mut prng = Prng::new(seed);
            let mut index = index();
            let mut model: BTreeMap<Vec<u8>, EntryId> = BTreeMap::new();
            for _ in 0..400 {
                let pattern = random_pattern(&mut prng, true);
                if prng.one_in(2) {
                    let (entry, new) = index.insert(&pattern);
                    let before = model.insert(pattern, entry);
                    assert_eq!(before.is_none(), new);
                    assert!(before.is_none_or(|e| e == entry));
                } else if let Some(entry) = model.remove(&pattern) {
                    assert_eq!(index.text(entry), pattern);
                    index.remove(entry);
                } else {
                    assert_eq!(index.find(&pattern), None);
                }
                let subject = random_pattern(&mut prng, false);
                let mut expected: Vec<EntryId> = model
                    .iter()
                    .filter(|(pattern, _)| super::super::matches(pattern, &subject))
                    .map(|(_, &entry)| entry)
                    .collect();
                expected.sort_unstable();
                assert_eq!(found(&index, &subject), expected, "seed {seed}");
            }
            assert_eq!(index.len(), model.len());
            for (_, entry) in model {
                index.remove(entry);
            }
            assert!(index.is_empty());
            assert_eq!(index.nodes.len(), 1, "only the root is left");
            assert!(index.edges.is_empty() && index.literals.is_empty());
        }
    }

    /// Whatever follows the decisive bytes, with as many tokens, the same patterns match.
    #[test]
    fn what_follows_the_decisive_bytes_decides_nothing() {
        let mut equal = 0;
        for seed in 0..200 {
            let mut prng = Prng::new(seed);
            let mut index = index();
            for _ in 0..prng.below(12) {
                let pattern = random_pattern(&mut prng, true);
                if !is_literal(&pattern) {
                    index.insert(&pattern);
                }
            }
            for _ in 0..40 {
                let subject = random_pattern(&mut prng, false);
                let decisive = index.decisive_bytes(&subject);
                let follows = |other: &[u8]| {
                    other.starts_with(&subject[..decisive])
                        && other.split(|&b| b == SEPARATOR).count()
                            == subject.split(|&b| b == SEPARATOR).count()
                };
                for _ in 0..40 {
                    let other = random_pattern(&mut prng, false);
                    if follows(&other) && other != subject {
                        equal += 1;
                        assert_eq!(found(&index, &other), found(&index, &subject), "{seed}");
                    }
                }
            }
        }
        assert!(equal > 10_000, "{equal}");
        let mut index = index();
        for pattern in ["$JS.ACK.>", "$JS.API.>", "_INBOX.abc.*", "*.x"] {
            index.insert(pattern.as_bytes());
        }
        for (subject, decisive) in [
            ("$JS.ACK.S.C.1", "$JS.ACK."),
            ("$JS.FC.S", "$JS.FC."),
            ("_INBOX.abc.1", "_INBOX.abc."),
            ("_INBOX.x.1", "_INBOX.x."),
            ("foo.x", "foo.x"),
            ("foo", "foo"),
        ] {
            let bytes = index.decisive_bytes(subject.as_bytes());
            assert_eq!(&subject[..bytes], decisive, "{subject}");
        }
    }

    #[test]
    fn wildcard_characters_inside_a_token_are_literal() {
        let mut index = index();
        let (star, _) = index.insert(b"foo*");
        assert!(index.is_literal(star));
        assert_eq!(found(&index, b"foo*"), [star]);
        assert!(found(&index, b"foox").is_empty());
    }
}
