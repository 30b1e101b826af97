//! Filters with wildcards of one length, by shape: where their `+` stand.
//!
//! A name can match at most one filter of each shape, and the print that this filter has is known. So a
//! visit looks once at each shape, however many filters there are and whatever their texts, and it looks
//! at them one after the other in memory: some nanoseconds each. The filters themselves are looked at
//! only if one of them has the tag of that print.

use super::prints::Print;
use super::shards::Shards;
use super::values::Values;

/// The shapes, in their order.
#[derive(Debug)]
pub struct Shapes<K, V> {
    /// None is empty: growing never moves many shapes.
    chunks: Vec<Chunk<K, V>>,
    len: usize,
}

/// Shapes in a row.
#[derive(Debug)]
struct Chunk<K, V> {
    /// Apart from `filters`: a visit reads these all, and few of the others.
    looks: Vec<Look>,
    filters: Vec<Filters<K, V>>,
}

/// What is looked at of each shape.
#[derive(Clone, Copy, Debug)]
struct Look {
    plus: u64,
    /// The tags of its filters.
    tags: u64,
}

/// The filters of one shape.
#[derive(Debug)]
enum Filters<K, V> {
    One(Filter<K, V>),
    /// In the order of their prints, up to [`FEW_MAX`].
    Few(Vec<Filter<K, V>>),
    /// So many.
    Many(Box<Shards<Filter<K, V>>>, usize),
}

#[derive(Debug)]
struct Filter<K, V> {
    print: Print,
    values: Values<K, V>,
}

impl<K: Ord + Copy, V> Shapes<K, V> {
    /// None.
    pub fn new() -> Shapes<K, V> {
        Shapes { chunks: Vec::new(), len: 0 }
    }

    /// Puts `value` under a filter and `key`. Returns what was there, and whether the filter is new.
    pub fn insert(&mut self, plus: u64, print: Print, key: K, value: V) -> (Option<V>, bool) {
        match self.position(plus) {
            Ok((chunk, at)) => {
                let Chunk { looks, filters } = &mut self.chunks[chunk];
                if let Some(values) = filters[at].find_mut(print) {
                    return (values.insert(key, value), false);
                }
                looks[at].tags |= print.tag();
                filters[at].insert(Filter { print, values: Values::One(key, value) });
                if let Filters::Many(..) = filters[at] {
                    looks[at].tags = u64::MAX;
                }
            }
            Err(place) => {
                let filter = Filter { print, values: Values::One(key, value) };
                self.insert_shape(place, Look { plus, tags: print.tag() }, Filters::One(filter));
            }
        }
        (None, true)
    }

    /// Takes out what is under a filter and `key`. Returns it, and whether the filter went with it.
    pub fn remove(&mut self, plus: u64, print: Print, key: K) -> Option<(V, bool)> {
        let (chunk, at) = self.position(plus).ok()?;
        let Chunk { looks, filters } = &mut self.chunks[chunk];
        let values = filters[at].find_mut(print)?;
        let removed = values.remove(key)?;
        if !values.is_empty() {
            return Some((removed, false));
        }
        if let Filters::One(_) = filters[at] {
            self.remove_shape(chunk, at);
        } else {
            filters[at].remove(print);
            looks[at].tags = filters[at].tags();
        }
        Some((removed, true))
    }

    /// Calls `visit` for the values of each filter that has the print which `whole`, less what
    /// `of_plus` says, has under its shape; not for shapes with `+` where `skip` has a bit.
    #[inline]
    pub fn visit<'t>(
        &'t self,
        whole: Print,
        skip: u64,
        of_plus: impl Fn(u64) -> Print,
        visit: &mut impl FnMut(K, &'t V),
    ) {
        for Chunk { looks, filters } in &self.chunks {
            for (at, look) in looks.iter().enumerate() {
                let print = whole.xor(of_plus(look.plus));
                if look.tags & print.tag() != 0
                    && look.plus & skip == 0
                    && let Some(values) = filters[at].find(print)
                {
                    values.visit(visit);
                }
            }
        }
    }

    /// How many there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Where a shape is, or belongs: the chunk and the place in it.
    fn position(&self, plus: u64) -> Result<(usize, usize), (usize, usize)> {
        let first = |chunk: &Chunk<K, V>| chunk.looks.first().map_or(0, |look| look.plus);
        let after = self.chunks.partition_point(|chunk| first(chunk) <= plus);
        let chunk = after.saturating_sub(1);
        let Some(Chunk { looks, .. }) = self.chunks.get(chunk) else { return Err((0, 0)) };
        let found = looks.binary_search_by_key(&plus, |look| look.plus);
        found.map(|at| (chunk, at)).map_err(|at| (chunk, at))
    }

    fn insert_shape(&mut self, (chunk, at): (usize, usize), look: Look, filters: Filters<K, V>) {
        if self.chunks.is_empty() {
            self.chunks.push(Chunk { looks: Vec::new(), filters: Vec::new() });
        }
        self.len += 1;
        let full = &mut self.chunks[chunk];
        full.looks.insert(at, look);
        full.filters.insert(at, filters);
        if full.looks.len() > CHUNK {
            let looks = full.looks.split_off(CHUNK / 2);
            let filters = full.filters.split_off(CHUNK / 2);
            self.chunks.insert(chunk + 1, Chunk { looks, filters });
        }
    }

    fn remove_shape(&mut self, chunk: usize, at: usize) {
        self.len -= 1;
        let Chunk { looks, filters } = &mut self.chunks[chunk];
        looks.remove(at);
        filters.remove(at);
        if looks.is_empty() {
            self.chunks.remove(chunk);
            self.chunks.shrink_to(self.chunks.len() * 2);
        } else if looks.len() * 4 < looks.capacity() {
            looks.shrink_to(looks.len() * 2);
            filters.shrink_to(filters.len() * 2);
        }
    }
}

impl<K: Ord + Copy, V> Filters<K, V> {
    #[inline]
    fn find(&self, print: Print) -> Option<&Values<K, V>> {
        let filter = match self {
            Filters::One(filter) => (filter.print == print).then_some(filter),
            Filters::Few(few) => {
                few.binary_search_by_key(&print, |filter| filter.print).ok().map(|at| &few[at])
            }
            Filters::Many(many, _) => many.find(print.hash(), |filter| filter.print == print),
        };
        filter.map(|filter| &filter.values)
    }

    fn find_mut(&mut self, print: Print) -> Option<&mut Values<K, V>> {
        let filter = match self {
            Filters::One(filter) => (filter.print == print).then_some(filter),
            Filters::Few(few) => {
                few.binary_search_by_key(&print, |filter| filter.print).ok().map(|at| &mut few[at])
            }
            Filters::Many(many, _) => many.find_mut(print.hash(), |filter| filter.print == print),
        };
        filter.map(|filter| &mut filter.values)
    }

    /// Adds a filter that is not there.
    fn insert(&mut self, filter: Filter<K, V>) {
        match self {
            Filters::Many(many, len) => {
                many.insert(filter.print.hash(), filter, |filter| filter.print.hash());
                *len += 1;
            }
            Filters::Few(few) if few.len() < FEW_MAX => {
                let at = few.partition_point(|other| other.print < filter.print);
                few.insert(at, filter);
            }
            Filters::One(_) | Filters::Few(_) => {
                let mut all = self.take();
                all.push(filter);
                *self = Filters::of(all);
            }
        }
    }

    /// Takes out a filter that is not the only one.
    fn remove(&mut self, print: Print) {
        match self {
            Filters::One(_) => {}
            Filters::Few(few) => few.retain(|filter| filter.print != print),
            Filters::Many(many, len) => {
                many.remove(
                    print.hash(),
                    |filter| filter.print == print,
                    |filter| filter.print.hash(),
                );
                *len -= 1;
            }
        }
        // Far enough from the larger form that it is not entered again at once.
        if self.len() == 1 || matches!(self, Filters::Many(_, len) if *len <= FEW_MAX / 2) {
            *self = Filters::of(self.take());
        }
    }

    /// The form for so many.
    fn of(mut all: Vec<Filter<K, V>>) -> Filters<K, V> {
        if all.len() > FEW_MAX {
            let (len, mut many) = (all.len(), Shards::new());
            for filter in all {
                many.insert(filter.print.hash(), filter, |filter: &Filter<K, V>| {
                    filter.print.hash()
                });
            }
            return Filters::Many(Box::new(many), len);
        }
        all.sort_unstable_by_key(|filter| filter.print);
        match all.pop() {
            Some(only) if all.is_empty() => Filters::One(only),
            last => {
                all.extend(last);
                Filters::Few(all)
            }
        }
    }

    /// All of them; none is left.
    fn take(&mut self) -> Vec<Filter<K, V>> {
        match std::mem::replace(self, Filters::Few(Vec::new())) {
            Filters::One(filter) => vec![filter],
            Filters::Few(few) => few,
            Filters::Many(many, _) => many.into_entries().collect(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Filters::One(_) => 1,
            Filters::Few(few) => few.len(),
            Filters::Many(_, len) => *len,
        }
    }

    fn tags(&self) -> u64 {
        match self {
            Filters::One(filter) => filter.print.tag(),
            Filters::Few(few) => few.iter().fold(0, |tags, filter| tags | filter.print.tag()),
            Filters::Many(..) => u64::MAX,
        }
    }
}

/// Most shapes in a chunk.
const CHUNK: usize = 512;

/// Most filters of a shape in a sorted `Vec`: beyond, nearly all tags are taken.
const FEW_MAX: usize = 64;
