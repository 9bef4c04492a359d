//! Cycles in the dependencies of steps.

/// The most cycles of one template that are reported.
const MAX_CYCLES: usize = 10;

/// The most names of one cycle that are shown.
const MAX_SHOWN: usize = 10;

/// Dependencies of steps, which are named by their index in the document.
#[derive(Debug)]
pub(super) struct Graph {
    dependencies: Vec<Vec<usize>>,
}

impl Graph {
    pub(super) fn new(steps: usize) -> Self {
        Self {
            dependencies: vec![Vec::new(); steps],
        }
    }

    pub(super) fn waits_for(&mut self, step: usize, dependency: usize) {
        self.dependencies[step].push(dependency);
    }

    /// Returns cycles that share no step, at least one of each knot. Each begins with the step that
    /// comes first in the document.
    pub(super) fn cycles(&self) -> Vec<Vec<usize>> {
        let mut cycles = Vec::new();
        let mut is_passed = vec![false; self.dependencies.len()];
        let mut is_on_way = vec![false; self.dependencies.len()];
        for start in 0..self.dependencies.len() {
            if is_passed[start] {
                continue;
            }
            // From `start` along dependencies: each step with the number of those that were followed.
            // A list in place of recursion, because it may be long.
            let mut way = vec![(start, 0)];
            while let Some((step, followed)) = way.last_mut() {
                let step = *step;
                (is_passed[step], is_on_way[step]) = (true, true);
                let dependency = self.dependencies[step].get(*followed).copied();
                *followed += 1;
                match dependency {
                    None => {
                        is_on_way[step] = false;
                        way.pop();
                    }
                    Some(next) if is_on_way[next] => {
                        let begin = way.iter().rposition(|(step, _)| *step == next);
                        let cycle = way.drain(begin.unwrap_or_default()..);
                        let cycle: Vec<usize> = cycle.map(|(step, _)| step).collect();
                        for step in &cycle {
                            is_on_way[*step] = false;
                        }
                        cycles.push(in_order(cycle));
                        if cycles.len() == MAX_CYCLES {
                            return cycles;
                        }
                    }
                    Some(next) if !is_passed[next] => way.push((next, 0)),
                    Some(_) => {}
                }
            }
        }
        cycles
    }
}

/// Returns a cycle from its first step in the document on.
fn in_order(mut cycle: Vec<usize>) -> Vec<usize> {
    let first = (0..cycle.len()).min_by_key(|index| cycle[*index]);
    cycle.rotate_left(first.unwrap_or_default());
    cycle
}

/// Returns the names along a cycle, with the first one again at the end. The end of a long cycle is
/// replaced by an ellipsis.
pub(super) fn shown(cycle: &[usize], name: impl Fn(usize) -> String) -> Vec<String> {
    let mut names: Vec<String> = cycle
        .iter()
        .take(MAX_SHOWN)
        .map(|step| name(*step))
        .collect();
    if cycle.len() > MAX_SHOWN {
        names.push(String::from("…"));
    }
    names.extend(cycle.first().map(|step| name(*step)));
    names
}

#[cfg(test)]
mod tests {
    use super::{Graph, shown};

    fn graph(edges: &[(usize, usize)], steps: usize) -> Graph {
        let mut graph = Graph::new(steps);
        for (step, dependency) in edges {
            graph.waits_for(*step, *dependency);
        }
        graph
    }

    #[test]
    fn a_diamond_has_no_cycle() {
        let edges = [(1, 0), (2, 0), (3, 1), (3, 2)];
        assert!(graph(&edges, 4).cycles().is_empty());
    }

    #[test]
    fn each_knot_is_told_once_and_what_hangs_on_it_is_not() {
        // 0 and 1 wait for each other; 2 waits for 1; 3, 4 and 5 are a ring.
        let edges = [(0, 1), (1, 0), (2, 1), (5, 4), (4, 3), (3, 5)];
        assert_eq!(graph(&edges, 6).cycles(), [vec![0, 1], vec![3, 5, 4]]);
    }

    #[test]
    fn cycles_of_one_knot_share_no_step() {
        // 0 and 1, 2 and 3 wait for each other, and 2 is a part of a longer cycle of 0 and 1.
        let edges = [(0, 1), (1, 0), (1, 2), (2, 0), (2, 3), (3, 2)];
        assert_eq!(graph(&edges, 4).cycles(), [vec![0, 1], vec![2, 3]]);
    }

    #[test]
    fn a_chain_and_a_ring_of_many_steps_are_no_burden() {
        let chain: Vec<_> = (1..50_000).map(|step| (step, step - 1)).collect();
        assert!(graph(&chain, 50_000).cycles().is_empty());
        let mut ring = chain;
        ring.push((0, 49_999));
        let cycles = graph(&ring, 50_000).cycles();
        assert_eq!(cycles[0].len(), 50_000);
        assert_eq!(shown(&cycles[0], |step| step.to_string()).len(), 12);
    }
}
