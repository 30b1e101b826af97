//! The nodes of the subscription tree.

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
#[derive(Debug)]
pub struct Arena<K, V> {
    chunks: Vec<Vec<Node<K, V>>>,
    free: Vec<u32>,
}

impl<K: Ord + Copy, V> Arena<K, V> {
    /// With the root alone.
    pub fn new() -> Arena<K, V> {
        Arena { chunks: vec![vec![Node::new(ROOT, b"")]], free: Vec::new() }
    }

    #[inline]
    pub fn at(&self, id: u32) -> &Node<K, V> {
        &self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }

    #[inline]
    pub fn at_mut(&mut self, id: u32) -> &mut Node<K, V> {
        &mut self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }

    pub fn add(&mut self, parent: u32, level: &[u8]) -> u32 {
        let node = Node::new(parent, level);
        if let Some(id) = self.free.pop() {
            *self.at_mut(id) = node;
            return id;
        }
        let id = u32::try_from(self.slots()).expect("memory ends before the numbers do");
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks[id as usize / CHUNK].push(node);
        id
    }

    pub fn free(&mut self, id: u32) {
        *self.at_mut(id) = Node::new(ROOT, b"");
        self.free.push(id);
    }

    pub fn len(&self) -> usize {
        self.slots() - self.free.len()
    }

    fn slots(&self) -> usize {
        (self.chunks.len() - 1) * CHUNK + self.chunks.last().map_or(0, Vec::len)
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
    fn a_level_keeps_its_text_at_every_length() {
        for len in 0..300 {
            let text = "x".repeat(len);
            assert_eq!(Level::new(text.as_bytes()).bytes(), text.as_bytes());
        }
    }
}
