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

    /// Returns cycles that share no step. Each begins with the step that comes first in the
    /// document.
    pub(super) fn cycles(&self) -> Vec<Vec<usize>> {
        let mut cycles = Vec::new();
        let mut left = self.stuck(&vec![true; self.dependencies.len()]);
        while cycles.len() < MAX_CYCLES {
            let Some(start) = left.iter().position(|is_left| *is_left) else {
                break;
            };
            let cycle = self.cycle_from(start, &left);
            for step in &cycle {
                left[*step] = false;
            }
            left = self.stuck(&left);
            cycles.push(cycle);
        }
        cycles
    }

    /// Marks the steps that can never start if only the steps in `among` exist.
    fn stuck(&self, among: &[bool]) -> Vec<bool> {
        let mut dependents = vec![Vec::new(); among.len()];
        let mut waiting = vec![0_usize; among.len()];
        for (step, dependencies) in self.dependencies.iter().enumerate() {
            if !among[step] {
                continue;
            }
            for dependency in dependencies.iter().filter(|step| among[**step]) {
                dependents[*dependency].push(step);
                waiting[step] += 1;
            }
        }
        let mut stuck = among.to_vec();
        let mut ready: Vec<usize> = (0..among.len())
            .filter(|step| among[*step] && waiting[*step] == 0)
            .collect();
        while let Some(step) = ready.pop() {
            stuck[step] = false;
            for dependent in &dependents[step] {
                waiting[*dependent] -= 1;
                if waiting[*dependent] == 0 {
                    ready.push(*dependent);
                }
            }
        }
        stuck
    }

    /// Returns a cycle that is reached from `start`. Each step in `left` waits for another one in
    /// it, so following dependencies returns to a step that was passed.
    fn cycle_from(&self, start: usize, left: &[bool]) -> Vec<usize> {
        let mut passed_at = vec![None; left.len()];
        let mut way = Vec::new();
        let mut step = start;
        while passed_at[step].is_none() {
            passed_at[step] = Some(way.len());
            way.push(step);
            let next = self.dependencies[step].iter().find(|next| left[**next]);
            step = *next.expect("a stuck step waits for another stuck step");
        }
        let mut cycle = way.split_off(passed_at[step].unwrap_or_default());
        let first = cycle.iter().enumerate().min_by_key(|(_, step)| **step);
        let first = first.map_or(0, |(index, _)| index);
        cycle.rotate_left(first);
        cycle
    }
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
