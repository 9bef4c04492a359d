//! Layers of steps: each step lies below all steps that it runs after.

use std::collections::HashMap;

use tasker_templates::{StepEdge, TaskTemplate};

/// Returns the number of each step's layer, in the template's order, and the edges that the layers
/// follow. An edge that would close a cycle, as one to a batch worker can, is left out.
pub(super) fn layers<'a>(
    template: &'a TaskTemplate,
    edges: &[StepEdge<'a>],
) -> (Vec<usize>, Vec<(usize, usize)>) {
    let index: HashMap<&str, usize> = template
        .steps
        .iter()
        .enumerate()
        .map(|(index, step)| (step.name.as_str(), index))
        .collect();
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); template.steps.len()];
    let mut followed = Vec::new();
    // Edges between declared dependencies have no cycle, so they come first.
    let mut sorted = edges.to_vec();
    sorted.sort_by_key(|edge| edge.kind);
    for edge in sorted {
        let (from, to) = (index[edge.from], index[edge.to]);
        if !reaches(&after, to, from) {
            after[from].push(to);
            followed.push((from, to));
        }
    }
    let mut waiting = vec![0_usize; after.len()];
    for &(_, to) in &followed {
        waiting[to] += 1;
    }
    let mut layer = vec![0; after.len()];
    let mut ready: Vec<usize> = (0..after.len())
        .filter(|step| waiting[*step] == 0)
        .collect();
    while let Some(step) = ready.pop() {
        for &next in &after[step] {
            layer[next] = layer[next].max(layer[step] + 1);
            waiting[next] -= 1;
            if waiting[next] == 0 {
                ready.push(next);
            }
        }
    }
    (layer, followed)
}

fn reaches(after: &[Vec<usize>], from: usize, to: usize) -> bool {
    let mut seen = vec![false; after.len()];
    let mut follow = vec![from];
    while let Some(step) = follow.pop() {
        if step == to {
            return true;
        }
        if !std::mem::replace(&mut seen[step], true) {
            follow.extend(&after[step]);
        }
    }
    false
}
