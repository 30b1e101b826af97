//! The Topic Filters of the rules that hold for one client, as a tree of levels: the first rule of which a
//! filter fits is found with one look at each level.

use hashbrown::HashTable;

/// Rules by their filters, each rule by its place in the order.
#[derive(Debug)]
pub(super) struct RuleFilters {
    nodes: Vec<LevelNode>,
    /// What comes after a level that is no wildcard, by the node before that and the level.
    children: HashTable<Child>,
    /// Rules that hold for every topic, those that begin with `$` too.
    everything: Vec<u32>,
}

/// What comes after some levels.
#[derive(Debug)]
struct LevelNode {
    /// No rule before this one has a filter that leads here.
    first: u32,
    has_children: bool,
    plus: Option<usize>,
    /// Rules with a filter that ends here, in their order.
    here: Vec<u32>,
    /// Rules with a filter that goes on with `#`, in their order.
    below: Vec<u32>,
}

#[derive(Debug)]
struct Child {
    before: usize,
    level: Box<str>,
    node: usize,
}

/// The first of some levels.
struct CutLevel<'a> {
    text: &'a str,
    hash: u64,
    /// What follows it.
    rest: Option<&'a str>,
}

/// What is looked for: whether the rule at a place fits the rest of what is asked.
struct Search<'a, F> {
    filters: &'a RuleFilters,
    fits: F,
    /// The first rule so far.
    best: u32,
    /// What is asked for begins with `$`: no wildcard stands for its first level.
    reserved: bool,
}

/// No rule.
pub(super) const NONE: u32 = u32::MAX;

impl RuleFilters {
    pub fn new() -> RuleFilters {
        RuleFilters {
            nodes: vec![LevelNode::new(0)],
            children: HashTable::new(),
            everything: Vec::new(),
        }
    }

    /// Adds a rule that holds for every topic. Rules come in their order.
    pub fn add_everything(&mut self, place: u32) {
        self.everything.push(place);
    }

    /// Adds a filter of a rule. Rules come in their order.
    pub fn add(&mut self, filter: &str, place: u32) {
        let mut at = 0;
        for level in filter.split('/') {
            if level == "#" {
                self.nodes[at].below.push(place);
                return;
            }
            at = self.child_or_new(at, level, place);
        }
        self.nodes[at].here.push(place);
    }

    fn child_or_new(&mut self, at: usize, level: &str, place: u32) -> usize {
        let plus = level == "+";
        let cut = CutLevel::of(level);
        let found = if plus { self.nodes[at].plus } else { self.child(at, &cut) };
        if let Some(found) = found {
            return found;
        }
        let new = self.nodes.len();
        self.nodes.push(LevelNode::new(place));
        if plus {
            self.nodes[at].plus = Some(new);
            return new;
        }
        self.nodes[at].has_children = true;
        let child = Child { before: at, level: level.into(), node: new };
        let hash = |child: &Child| CutLevel::of(&child.level).after(child.before);
        self.children.insert_unique(cut.after(at), child, hash);
        new
    }

    /// What comes after a level that is no wildcard.
    #[inline]
    fn child(&self, at: usize, level: &CutLevel<'_>) -> Option<usize> {
        if !self.nodes[at].has_children {
            return None;
        }
        let same = |child: &Child| child.before == at && *child.level == *level.text;
        Some(self.children.find(level.after(at), same)?.node)
    }

    /// The first rule that has a filter which `name` matches and that `fits`.
    pub fn of_name(&self, name: &str, fits: impl Fn(u32) -> bool) -> u32 {
        let mut search = Search::new(self, fits, name);
        search.name(0, Some(name));
        search.best
    }

    /// The first rule that has a filter which covers all of `filter` and that `fits`.
    pub fn of_filter(&self, filter: &str, fits: impl Fn(u32) -> bool) -> u32 {
        let mut search = Search::new(self, fits, filter);
        search.filter(0, Some(filter));
        search.best
    }
}

impl<'a, F: Fn(u32) -> bool> Search<'a, F> {
    fn new(filters: &'a RuleFilters, fits: F, text: &str) -> Search<'a, F> {
        let reserved = text.starts_with('$');
        let mut search = Search { filters, fits, best: NONE, reserved };
        search.look(&filters.everything);
        search
    }

    /// Takes the first of `rules` that fits, if it comes before what was found.
    fn look(&mut self, rules: &[u32]) {
        let earlier = rules.iter().copied().take_while(|place| *place < self.best);
        let mut fitting = earlier.filter(|place| (self.fits)(*place));
        if let Some(place) = fitting.next() {
            drop(fitting);
            self.best = place;
        }
    }

    /// `rest`: the levels of a name that are left.
    fn name(&mut self, mut at: usize, mut rest: Option<&str>) {
        loop {
            let node = &self.filters.nodes[at];
            if node.first >= self.best {
                return;
            }
            let wildcards = at > 0 || !self.reserved;
            if wildcards {
                self.look(&node.below);
            }
            let Some(levels) = rest else { return self.look(&node.here) };
            if node.is_last() {
                return;
            }
            let level = CutLevel::of(levels);
            rest = level.rest;
            let child = self.filters.child(at, &level);
            at = match (child, node.plus.filter(|_| wildcards)) {
                (Some(child), Some(plus)) => {
                    self.name(child, rest);
                    plus
                }
                (Some(only), None) | (None, Some(only)) => only,
                (None, None) => return,
            };
        }
    }

    /// `rest`: the levels of a filter that are left.
    fn filter(&mut self, at: usize, rest: Option<&str>) {
        let node = &self.filters.nodes[at];
        if node.first >= self.best {
            return;
        }
        let wildcards = at > 0 || !self.reserved;
        if wildcards {
            self.look(&node.below);
        }
        let Some(rest) = rest else { return self.look(&node.here) };
        if node.is_last() {
            return;
        }
        let level = CutLevel::of(rest);
        if level.text == "#" {
            return;
        }
        // No child has the level `+`.
        if let Some(child) = self.filters.child(at, &level) {
            self.filter(child, level.rest);
        }
        if let Some(plus) = node.plus.filter(|_| wildcards) {
            self.filter(plus, level.rest);
        }
    }
}

impl LevelNode {
    fn new(first: u32) -> LevelNode {
        let (here, below) = (Vec::new(), Vec::new());
        LevelNode { first, has_children: false, plus: None, here, below }
    }

    /// Nothing but `#` comes after it.
    #[inline]
    fn is_last(&self) -> bool {
        !self.has_children && self.plus.is_none()
    }
}

impl<'a> CutLevel<'a> {
    /// The first level of `levels`: looked at eight bytes at a time, since it is asked for so often.
    #[inline]
    fn of(levels: &'a str) -> CutLevel<'a> {
        const EACH: u64 = u64::from_ne_bytes([1; 8]);
        let bytes = levels.as_bytes();
        let (mut at, mut hash) = (0, MIX);
        loop {
            let word = match bytes[at..].first_chunk() {
                Some(word) => *word,
                None => {
                    let mut word = [b'/'; 8];
                    word[..bytes.len() - at].copy_from_slice(&bytes[at..]);
                    word
                }
            };
            // Bytes that are 0 were `/`: of those that it marks the lowest is one.
            let word = u64::from_le_bytes(word) ^ (EACH * u64::from(b'/'));
            let ends = word.wrapping_sub(EACH) & !word & (EACH << 7);
            // All bytes below the lowest mark; all eight if there is none.
            let own = ends ^ ends.wrapping_sub(1);
            hash = mix(hash ^ (word & own));
            if ends == 0 {
                at += 8;
                continue;
            }
            let end = at + ends.trailing_zeros() as usize / 8;
            return CutLevel { text: &levels[..end], hash, rest: levels.get(end + 1..) };
        }
    }

    /// The hash of it after a node.
    #[inline]
    fn after(&self, node: usize) -> u64 {
        self.hash ^ (node as u64).wrapping_mul(MIX)
    }
}

#[inline]
fn mix(bits: u64) -> u64 {
    let product = u128::from(bits) * u128::from(MIX);
    (product >> 64) as u64 ^ product as u64
}

/// An odd number without a pattern in its bits.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::CutLevel;

    #[test]
    fn a_level_is_cut_as_it_is_split() {
        let texts = ["", "/", "a", "a/", "/a", "eightbyt/x", "seven77/y", "more than eight/é//z"];
        for text in texts {
            let mut left = Some(text);
            let mut wanted = text.split('/').peekable();
            while let Some(rest) = left {
                let cut = CutLevel::of(rest);
                assert_eq!(Some(cut.text), wanted.next(), "{text:?}");
                assert_eq!(cut.hash, CutLevel::of(cut.text).hash, "whatever follows");
                left = cut.rest;
                assert_eq!(left.is_some(), wanted.peek().is_some(), "{text:?}");
            }
        }
    }
}
