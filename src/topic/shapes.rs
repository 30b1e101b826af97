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
    chunks: Vec<ShapeChunk<K, V>>,
    len: usize,
}

/// Shapes in a row.
#[derive(Debug)]
struct ShapeChunk<K, V> {
    /// Apart from `filters`: a visit reads these all, and few of the others.
    looks: Vec<ShapeLook>,
    filters: Vec<ShapeFilters<K, V>>,
}

/// What is looked at of each shape.
#[derive(Clone, Copy, Debug)]
struct ShapeLook {
    plus: u64,
    /// The tags of its filters.
    tags: u64,
}

/// The filters of one shape.
#[derive(Debug)]
enum ShapeFilters<K, V> {
    One(WildFilter<K, V>),
    /// In the order of their prints, up to [`FEW_MAX`].
    Few(Vec<WildFilter<K, V>>),
    /// So many.
    Many(Box<Shards<WildFilter<K, V>>>, usize),
}

#[derive(Debug)]
struct WildFilter<K, V> {
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
                let ShapeChunk { looks, filters } = &mut self.chunks[chunk];
                if let Some(values) = filters[at].find_mut(print) {
                    return (values.insert(key, value), false);
                }
                looks[at].tags |= print.tag();
                filters[at].insert(WildFilter { print, values: Values::One(key, value) });
                if let ShapeFilters::Many(..) = filters[at] {
                    looks[at].tags = u64::MAX;
                }
            }
            Err(place) => {
                let filter = WildFilter { print, values: Values::One(key, value) };
                self.insert_shape(
                    place,
                    ShapeLook { plus, tags: print.tag() },
                    ShapeFilters::One(filter),
                );
            }
        }
        (None, true)
    }

    /// Takes out what is under a filter and `key`. Returns it, and whether the filter went with it.
    pub fn remove(&mut self, plus: u64, print: Print, key: K) -> Option<(V, bool)> {
        let (chunk, at) = self.position(plus).ok()?;
        let ShapeChunk { looks, filters } = &mut self.chunks[chunk];
        let values = filters[at].find_mut(print)?;
        let removed = values.remove(key)?;
        if !values.is_empty() {
            return Some((removed, false));
        }
        if let ShapeFilters::One(_) = filters[at] {
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
        for ShapeChunk { looks, filters } in &self.chunks {
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
        let first = |chunk: &ShapeChunk<K, V>| chunk.looks.first().map_or(0, |look| look.plus);
        let after = self.chunks.partition_point(|chunk| first(chunk) <= plus);
        let chunk = after.saturating_sub(1);
        let Some(ShapeChunk { looks, .. }) = self.chunks.get(chunk) else { return Err((0, 0)) };
        let found = looks.binary_search_by_key(&plus, |look| look.plus);
        found.map(|at| (chunk, at)).map_err(|at| (chunk, at))
    }

    fn insert_shape(
        &mut self,
        (chunk, at): (usize, usize),
        look: ShapeLook,
        filters: ShapeFilters<K, V>,
    ) {
        if self.chunks.is_empty() {
            self.chunks.push(ShapeChunk { looks: Vec::new(), filters: Vec::new() });
        }
        self.len += 1;
        let full = &mut self.chunks[chunk];
        full.looks.insert(at, look);
        full.filters.insert(at, filters);
        if full.looks.len() > CHUNK {
            let looks = full.looks.split_off(CHUNK / 2);
            let filters = full.filters.split_off(CHUNK / 2);
            self.chunks.insert(chunk + 1, ShapeChunk { looks, filters });
        }
    }

    fn remove_shape(&mut self, chunk: usize, at: usize) {
        self.len -= 1;
        let ShapeChunk { looks, filters } = &mut self.chunks[chunk];
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

impl<K: Ord + Copy, V> ShapeFilters<K, V> {
    #[inline]
    fn find(&self, print: Print) -> Option<&Values<K, V>> {
        let filter = match self {
            ShapeFilters::One(filter) => (filter.print == print).then_some(filter),
            ShapeFilters::Few(few) => {
                few.binary_search_by_key(&print, |filter| filter.print).ok().map(|at| &few[at])
            }
            ShapeFilters::Many(many, _) => many.find(print.hash(), |filter| filter.print == print),
        };
        filter.map(|filter| &filter.values)
    }

    fn find_mut(&mut self, print: Print) -> Option<&mut Values<K, V>> {
        let filter = match self {
            ShapeFilters::One(filter) => (filter.print == print).then_some(filter),
            ShapeFilters::Few(few) => {
                few.binary_search_by_key(&print, |filter| filter.print).ok().map(|at| &mut few[at])
            }
            ShapeFilters::Many(many, _) => {
                many.find_mut(print.hash(), |filter| filter.print == print)
            }
        };
        filter.map(|filter| &mut filter.values)
    }

    /// Adds a filter that is not there.
    fn insert(&mut self, filter: WildFilter<K, V>) {
        match self {
            ShapeFilters::Many(many, len) => {
                many.insert(filter.print.hash(), filter, |filter| filter.print.hash());
                *len += 1;
            }
            ShapeFilters::Few(few) if few.len() < FEW_MAX => {
                let at = few.partition_point(|other| other.print < filter.print);
                few.insert(at, filter);
            }
            ShapeFilters::One(_) | ShapeFilters::Few(_) => {
                let mut all = self.take();
                all.push(filter);
                *self = ShapeFilters::of(all);
            }
        }
    }

    /// Takes out a filter that is not the only one.
    fn remove(&mut self, print: Print) {
        match self {
            ShapeFilters::One(_) => {}
            ShapeFilters::Few(few) => few.retain(|filter| filter.print != print),
            ShapeFilters::Many(many, len) => {
                many.remove(
                    print.hash(),
                    |filter| filter.print == print,
                    |filter| filter.print.hash(),
                );
                *len -= 1;
            }
        }
        // Far enough from the larger form that it is not entered again at once.
        if self.len() == 1 || matches!(self, ShapeFilters::Many(_, len) if *len <= FEW_MAX / 2) {
            *self = ShapeFilters::of(self.take());
        }
    }

    /// The form for so many.
    fn of(mut all: Vec<WildFilter<K, V>>) -> ShapeFilters<K, V> {
        if all.len() > FEW_MAX {
            let (len, mut many) = (all.len(), Shards::new());
            for filter in all {
                many.insert(filter.print.hash(), filter, |filter: &WildFilter<K, V>| {
                    filter.print.hash()
                });
            }
            return ShapeFilters::Many(Box::new(many), len);
        }
        all.sort_unstable_by_key(|filter| filter.print);
        match all.pop() {
            Some(only) if all.is_empty() => ShapeFilters::One(only),
            last => {
                all.extend(last);
                ShapeFilters::Few(all)
            }
        }
    }

    /// All of them; none is left.
    fn take(&mut self) -> Vec<WildFilter<K, V>> {
        match std::mem::replace(self, ShapeFilters::Few(Vec::new())) {
            ShapeFilters::One(filter) => vec![filter],
            ShapeFilters::Few(few) => few,
            ShapeFilters::Many(many, _) => many.into_entries().collect(),
        }
    }

    fn len(&self) -> usize {
        match self {
            ShapeFilters::One(_) => 1,
            ShapeFilters::Few(few) => few.len(),
            ShapeFilters::Many(_, len) => *len,
        }
    }

    fn tags(&self) -> u64 {
        match self {
            ShapeFilters::One(filter) => filter.print.tag(),
            ShapeFilters::Few(few) => few.iter().fold(0, |tags, filter| tags | filter.print.tag()),
            ShapeFilters::Many(..) => u64::MAX,
        }
    }
}

/// Most shapes in a chunk.
const CHUNK: usize = 512;

/// Most filters of a shape in a sorted `Vec`: beyond, nearly all tags are taken.
const FEW_MAX: usize = 64;
