//! Results of steps, linked to those that they depended on.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::value::RawValue;
use uuid::Uuid;

/// The result of a complete step, with those of its own dependencies. Steps that share dependencies
/// share their results.
#[derive(Debug)]
pub(super) struct StepResult {
    pub(super) name: Arc<str>,
    pub(super) value: Option<Box<RawValue>>,
    pub(super) parents: Vec<Arc<StepResult>>,
}

impl Drop for StepResult {
    /// Drops long chains without recursion, which would overflow the stack.
    fn drop(&mut self) {
        let mut rest = std::mem::take(&mut self.parents);
        while let Some(parent) = rest.pop() {
            if let Some(mut parent) = Arc::into_inner(parent) {
                rest.append(&mut parent.parents);
            }
        }
    }
}

/// Finds results by name, nearest first.
pub(super) fn walk(parents: &[Arc<StepResult>]) -> impl Iterator<Item = &Arc<StepResult>> {
    let mut seen = HashSet::new();
    let mut next: std::collections::VecDeque<&Arc<StepResult>> = parents.iter().collect();
    std::iter::from_fn(move || {
        loop {
            let result = next.pop_front()?;
            // By name: a result that was loaded may also be there from its own run.
            if seen.insert(&*result.name) {
                next.extend(&result.parents);
                return Some(result);
            }
        }
    })
}

/// A result as it was loaded, before it is linked.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) name: Arc<str>,
    pub(super) value: Option<Box<RawValue>>,
    pub(super) parents: Vec<Uuid>,
}

/// Links the results in `loaded` and adds them to `linked`, which may hold some of their
/// dependencies already.
pub(super) fn link(mut loaded: HashMap<Uuid, Loaded>, linked: &mut HashMap<Uuid, Arc<StepResult>>) {
    let mut stack: Vec<Uuid> = loaded.keys().copied().collect();
    while let Some(&id) = stack.last() {
        let waiting = loaded.get(&id).map(|result| {
            let missing = |parent: &&Uuid| loaded.contains_key(parent) && **parent != id;
            result
                .parents
                .iter()
                .filter(missing)
                .copied()
                .collect::<Vec<_>>()
        });
        match waiting {
            Some(waiting) if !waiting.is_empty() => stack.extend(waiting),
            _ => {
                stack.pop();
                if let Some(result) = loaded.remove(&id) {
                    let parents = result.parents.iter();
                    let parents = parents.filter_map(|id| linked.get(id).cloned()).collect();
                    let result = StepResult {
                        name: result.name,
                        value: result.value,
                        parents,
                    };
                    linked.insert(id, Arc::new(result));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use uuid::Uuid;

    use super::{Loaded, link, walk};

    fn loaded(edges: &[(u128, &[u128])]) -> HashMap<Uuid, Loaded> {
        let one = |(id, parents): &(u128, &[u128])| {
            let result = Loaded {
                name: id.to_string().into(),
                value: None,
                parents: parents.iter().copied().map(Uuid::from_u128).collect(),
            };
            (Uuid::from_u128(*id), result)
        };
        edges.iter().map(one).collect()
    }

    #[test]
    fn a_diamond_is_walked_once_and_nearest_first() {
        let mut linked = HashMap::new();
        link(
            loaded(&[(4, &[2, 3]), (2, &[1]), (3, &[1]), (1, &[])]),
            &mut linked,
        );
        let end = [Arc::clone(&linked[&Uuid::from_u128(4)])];
        let names: Vec<_> = walk(&end).map(|result| &*result.name).collect();
        assert_eq!(names, ["4", "2", "3", "1"]);
    }

    #[test]
    fn a_long_chain_is_linked_and_dropped_without_recursion() {
        let edges: Vec<(u128, Vec<u128>)> = (1..100_000).map(|id| (id, vec![id - 1])).collect();
        let edges: Vec<(u128, &[u128])> = edges.iter().map(|(id, p)| (*id, &p[..])).collect();
        let mut linked = HashMap::new();
        link(loaded(&edges), &mut linked);
        let end = linked.remove(&Uuid::from_u128(99_999)).unwrap();
        drop(linked);
        assert_eq!(walk(&[Arc::clone(&end)]).count(), 99_999);
        drop(end);
    }
}
