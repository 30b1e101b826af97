//! The retained tree: Topic Name → value.

use super::name::TopicName;

/// Topic Names and their values, searched by Topic Filter in a fixed order, resumable.
#[derive(Debug)]
pub struct Retained<V> {
    _values: Vec<V>,
}

impl<V> Retained<V> {
    /// An empty store.
    pub fn new() -> Retained<V> {
        todo!()
    }

    /// Puts `value` under `name`; returns what was there.
    pub fn insert(&mut self, _name: TopicName<'_>, _value: V) -> Option<V> {
        todo!()
    }

    /// Takes out what is under `name`; nodes left empty are freed.
    pub fn remove(&mut self, _name: TopicName<'_>) -> Option<V> {
        todo!()
    }

    /// What is under `name`.
    pub fn get(&self, _name: TopicName<'_>) -> Option<&V> {
        todo!()
    }

    /// Calls `visit` for names that match `pattern`, in the tree's order, beginning after the name
    /// `after`, until it returns false. The order does not change by insertions and removals, and
    /// resuming after a name that is gone by now is allowed.
    ///
    /// Returns true if it came to the end, false if `visit` stopped it. Looks at no more than
    /// `steps` nodes; if that runs out it returns false too and leaves in `resume` the name to go on after.
    pub fn scan(
        &self,
        _pattern: &str,
        _after: Option<&str>,
        _steps: usize,
        _resume: &mut Option<String>,
        _visit: &mut impl FnMut(&str, &V) -> bool,
    ) -> bool {
        todo!()
    }

    /// Values in the store.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
