//! The nodes of the trie.

use std::collections::BTreeSet;

use super::values::Values;

/// One level of some filters.
#[derive(Debug)]
pub struct Node<K, V> {
    pub parent: u32,
    /// Children that are not wildcards.
    pub named: u32,
    /// The child `+`.
    pub plus: u32,
    /// The child `#`.
    pub rest: u32,
    pub level: Level,
    pub values: Values<K, V>,
}

impl<K: Ord + Copy, V> Node<K, V> {
    pub fn new(parent: u32, level: &[u8]) -> Node<K, V> {
        let level = Level::new(level);
        Node { parent, named: 0, plus: NONE, rest: NONE, level, values: Values::None }
    }

    pub fn is_bare(&self) -> bool {
        self.values.is_empty() && self.named == 0 && self.plus == NONE && self.rest == NONE
    }
}

/// The text of a level; a short one is stored in its node.
#[derive(Debug)]
pub enum Level {
    Short(u8, [u8; SHORT_MAX]),
    Long(Box<[u8]>),
}

impl Level {
    pub fn new(text: &[u8]) -> Level {
        match u8::try_from(text.len()) {
            Ok(len) if text.len() <= SHORT_MAX => {
                let mut bytes = [0; SHORT_MAX];
                bytes[..text.len()].copy_from_slice(text);
                Level::Short(len, bytes)
            }
            Ok(_) | Err(_) => Level::Long(text.into()),
        }
    }

    #[inline]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Level::Short(len, bytes) => &bytes[..usize::from(*len)],
            Level::Long(bytes) => bytes,
        }
    }
}

/// All nodes, by number, in chunks: growing never copies, and never leaves half of the memory unused.
///
/// A new node takes a place in the first chunk that has one, and the memory of a chunk without nodes is
/// freed: so it goes back after a burst.
#[derive(Debug)]
pub struct Arena<K, V> {
    chunks: Vec<NodeChunk<K, V>>,
    /// The chunks that have a place.
    open: BTreeSet<u32>,
    len: usize,
}

/// Up to [`CHUNK`] nodes with numbers in a row.
#[derive(Debug)]
struct NodeChunk<K, V> {
    nodes: Vec<Node<K, V>>,
    /// Places in `nodes` that no node has.
    free: Vec<u16>,
}

impl<K: Ord + Copy, V> Arena<K, V> {
    /// With the root alone.
    pub fn new() -> Arena<K, V> {
        let mut arena = Arena { chunks: Vec::new(), open: BTreeSet::new(), len: 0 };
        arena.add(ROOT, b"");
        arena
    }

    #[inline]
    pub fn at(&self, id: u32) -> &Node<K, V> {
        &self.chunks[id as usize / CHUNK].nodes[id as usize % CHUNK]
    }

    #[inline]
    pub fn at_mut(&mut self, id: u32) -> &mut Node<K, V> {
        &mut self.chunks[id as usize / CHUNK].nodes[id as usize % CHUNK]
    }

    pub fn add(&mut self, parent: u32, level: &[u8]) -> u32 {
        let number = self.open.first().copied().unwrap_or_else(|| self.add_chunk());
        let NodeChunk { nodes, free } = &mut self.chunks[number as usize];
        let node = Node::new(parent, level);
        let at = if let Some(at) = free.pop() {
            nodes[usize::from(at)] = node;
            usize::from(at)
        } else {
            // The first one grows: most trees have few nodes.
            if nodes.is_empty() && number > 0 {
                nodes.reserve_exact(CHUNK);
            }
            nodes.push(node);
            nodes.len() - 1
        };
        if free.is_empty() && nodes.len() == CHUNK {
            self.open.remove(&number);
        }
        self.len += 1;
        number * CHUNK as u32 + at as u32
    }

    fn add_chunk(&mut self) -> u32 {
        let most = u32::MAX as usize / CHUNK;
        assert!(self.chunks.len() < most, "memory ends before the numbers do");
        let number = self.chunks.len() as u32;
        self.chunks.push(NodeChunk { nodes: Vec::new(), free: Vec::new() });
        self.open.insert(number);
        number
    }

    pub fn free(&mut self, id: u32) {
        *self.at_mut(id) = Node::new(ROOT, b"");
        let number = id / CHUNK as u32;
        let NodeChunk { nodes, free } = &mut self.chunks[number as usize];
        free.push((id as usize % CHUNK) as u16);
        if free.len() == nodes.len() {
            (*nodes, *free) = (Vec::new(), Vec::new());
        }
        self.open.insert(number);
        self.len -= 1;
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.len
    }
}

/// The number of the root, which is in every arena.
pub const ROOT: u32 = 0;

/// No child: no node has the root as its child.
pub const NONE: u32 = ROOT;

/// Longest level kept inside of its node, in bytes.
const SHORT_MAX: usize = 22;

/// Nodes in a chunk.
const CHUNK: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_fits_a_cache_line() {
        assert_eq!(size_of::<Node<u64, u64>>(), 64);
    }

    #[test]
    fn a_chunk_without_nodes_has_no_memory_and_is_used_again() {
        let mut arena = Arena::<u64, u64>::new();
        let ids: Vec<u32> = (1..4 * CHUNK).map(|_| arena.add(ROOT, b"a")).collect();
        assert!(ids.iter().copied().eq(1..4 * CHUNK as u32));
        let taken = |arena: &Arena<u64, u64>| -> Vec<bool> {
            arena.chunks.iter().map(|chunk| chunk.nodes.capacity() > 0).collect()
        };
        assert_eq!(taken(&arena), [true; 4]);
        // All but the last one of the third chunk.
        ids[..3 * CHUNK - 2].iter().for_each(|id| arena.free(*id));
        ids[3 * CHUNK - 1..].iter().for_each(|id| arena.free(*id));
        assert_eq!((taken(&arena), arena.len()), (vec![true, false, true, false], 2));
        let again: BTreeSet<u32> = (2..4 * CHUNK).map(|_| arena.add(ROOT, b"b")).collect();
        assert_eq!(
            (taken(&arena), arena.len(), again.len()),
            (vec![true; 4], 4 * CHUNK, 4 * CHUNK - 2)
        );
        assert_eq!(arena.at(3 * CHUNK as u32 - 1).level.bytes(), b"a");
        assert_eq!((arena.chunks.len(), arena.open.len()), (4, 0));
    }

    #[test]
    fn a_level_keeps_its_text_at_every_length() {
        for len in 0..300 {
            let text = "x".repeat(len);
            assert_eq!(Level::new(text.as_bytes()).bytes(), text.as_bytes());
        }
    }
}
