//! The Topic RuleFilters of the rules that hold for one client, as a tree of levels: the first rule of which a
//! filter fits is found with one look at each level.

/// Rules by their filters, each rule by its place in the order.
#[derive(Debug)]
pub(super) struct RuleFilters {
    nodes: Vec<LevelNode>,
    /// Rules that hold for every topic, those that begin with `$` too.
    everything: Vec<u32>,
}

/// What comes after some levels.
#[derive(Debug, Default)]
struct LevelNode {
    /// By the next level, in order.
    children: Vec<(Box<str>, usize)>,
    plus: Option<usize>,
    /// Rules with a filter that ends here, in their order.
    here: Vec<u32>,
    /// Rules with a filter that goes on with `#`, in their order.
    below: Vec<u32>,
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
        RuleFilters { nodes: vec![LevelNode::default()], everything: Vec::new() }
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
            at = self.child(at, level);
        }
        self.nodes[at].here.push(place);
    }

    fn child(&mut self, at: usize, level: &str) -> usize {
        let new = self.nodes.len();
        let node = &mut self.nodes[at];
        let (found, is_new) = if level == "+" {
            (*node.plus.get_or_insert(new), node.plus == Some(new))
        } else {
            match node.children.binary_search_by(|(own, _)| (**own).cmp(level)) {
                Ok(index) => (node.children[index].1, false),
                Err(index) => {
                    node.children.insert(index, (level.into(), new));
                    (new, true)
                }
            }
        };
        if is_new {
            self.nodes.push(LevelNode::default());
        }
        found
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
    fn name(&mut self, at: usize, rest: Option<&str>) {
        let node = &self.filters.nodes[at];
        let wildcards = at > 0 || !self.reserved;
        if wildcards {
            self.look(&node.below);
        }
        let Some(rest) = rest else { return self.look(&node.here) };
        let (level, rest) = split(rest);
        if let Some(child) = node.child(level) {
            self.name(child, rest);
        }
        if let Some(plus) = node.plus.filter(|_| wildcards) {
            self.name(plus, rest);
        }
    }

    /// `rest`: the levels of a filter that are left.
    fn filter(&mut self, at: usize, rest: Option<&str>) {
        let node = &self.filters.nodes[at];
        let wildcards = at > 0 || !self.reserved;
        if wildcards {
            self.look(&node.below);
        }
        let Some(rest) = rest else { return self.look(&node.here) };
        let (level, rest) = split(rest);
        if level == "#" {
            return;
        }
        if let Some(child) = node.child(level).filter(|_| level != "+") {
            self.filter(child, rest);
        }
        if let Some(plus) = node.plus.filter(|_| wildcards) {
            self.filter(plus, rest);
        }
    }
}

impl LevelNode {
    fn child(&self, level: &str) -> Option<usize> {
        match &self.children[..] {
            [] => None,
            [(own, child)] => (**own == *level).then_some(*child),
            children => {
                let found = children.binary_search_by(|(own, _)| (**own).cmp(level)).ok()?;
                Some(children[found].1)
            }
        }
    }
}

/// The first level, and what follows it.
fn split(text: &str) -> (&str, Option<&str>) {
    match text.bytes().position(|byte| byte == b'/') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}
