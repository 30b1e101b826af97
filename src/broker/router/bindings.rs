//! What a named queue has in the tree: a route for each of its Topic Filters, and what is asked of a message
//! where a filter has conditions.

use crate::config::Binding;

/// What a named queue collects.
#[derive(Debug, Default)]
pub(super) struct Bindings(Vec<BoundFilter>);

/// A Topic Filter of a queue.
#[derive(Debug)]
pub(super) struct BoundFilter {
    filter: Box<str>,
    /// Alternatives, of which one must hold. `None`: every message is collected.
    conditions: Option<Vec<Condition>>,
}

/// User Properties, name and value, that a message must all have.
type Condition = Vec<(Box<str>, Box<str>)>;

impl Bindings {
    /// What these say, each filter once.
    pub fn new(bindings: &[Binding]) -> Bindings {
        let mut bound: Vec<BoundFilter> = Vec::new();
        for binding in bindings {
            let condition = binding.properties().map(|wanted| {
                let boxed = |(name, value): (&String, &String)| (name[..].into(), value[..].into());
                wanted.iter().map(boxed).collect()
            });
            match bound.iter_mut().find(|bound| *bound.filter == *binding.filter()) {
                Some(BoundFilter { conditions, .. }) => match (conditions.as_mut(), condition) {
                    (Some(known), Some(condition)) => known.push(condition),
                    _ => *conditions = None,
                },
                None => bound.push(BoundFilter {
                    filter: binding.filter().into(),
                    conditions: condition.map(|condition| vec![condition]),
                }),
            }
        }
        Bindings(bound)
    }

    /// The Topic Filters, each with the number by which its conditions are found, if it has any.
    pub fn filters(&self) -> impl Iterator<Item = (&str, Option<u32>)> {
        let numbered = (1..).zip(&self.0);
        numbered.map(|(number, bound)| (&*bound.filter, bound.conditions.as_ref().map(|_| number)))
    }

    /// Whether a message with these User Properties is collected by the filter of this number.
    pub fn hold(&self, number: u32, properties: &[(&str, &str)]) -> bool {
        let Some(bound) = self.0.get((number as usize).wrapping_sub(1)) else { return false };
        let has = |(name, value): &(Box<str>, Box<str>)| properties.contains(&(&**name, &**value));
        let holds = |condition: &Condition| condition.iter().all(has);
        bound.conditions.as_ref().is_none_or(|any| any.iter().any(holds))
    }
}
