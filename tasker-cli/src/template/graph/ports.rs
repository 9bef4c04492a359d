//! Places at which edges leave and enter boxes, so that edges of one box can be told apart.

use super::layout::Layout;

/// The most room between two edges.
const GAP: f64 = 14.0;
/// The room between an edge and the corner of its box.
const CORNER: f64 = 14.0;

/// Returns where each edge leaves its first box and enters its last one, from left to right in the order
/// of their other ends.
pub(super) fn ports(
    widths: &[f64],
    places: &Layout,
    edges: &[(usize, usize)],
) -> (Vec<f64>, Vec<f64>) {
    let middle = |step: usize| places.middles[step];
    let next = |edge: usize| places.bends[edge].first().copied();
    let last = |edge: usize| places.bends[edge].last().copied();
    let mut leave = vec![0.0; edges.len()];
    let mut enter = vec![0.0; edges.len()];
    for (step, width) in widths.iter().enumerate() {
        let leaving = (0..edges.len()).filter(|edge| edges[*edge].0 == step);
        let ends = leaving.map(|edge| (next(edge).unwrap_or_else(|| middle(edges[edge].1)), edge));
        spread(ends.collect(), (middle(step), *width), &mut leave);
        let entering = (0..edges.len()).filter(|edge| edges[*edge].1 == step);
        let ends = entering.map(|edge| (last(edge).unwrap_or_else(|| middle(edges[edge].0)), edge));
        spread(ends.collect(), (middle(step), *width), &mut enter);
    }
    (leave, enter)
}

fn spread(mut ends: Vec<(f64, usize)>, (middle, width): (f64, f64), places: &mut [f64]) {
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let gaps = float(ends.len().saturating_sub(1));
    let gap = GAP.min((width - 2.0 * CORNER) / gaps.max(1.0));
    for (number, (_, edge)) in ends.into_iter().enumerate() {
        places[edge] = middle + gap * (float(number) - gaps / 2.0);
    }
}

#[expect(clippy::cast_precision_loss, reason = "pictures are small")]
pub(super) fn float(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::super::layout::layout;
    use super::ports;

    #[test]
    fn edges_of_a_box_do_not_meet_and_keep_their_order() {
        let widths = [100.0; 5];
        let edges = [(0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (3, 4)];
        let places = layout(&widths, &[0, 1, 1, 1, 2], &edges);
        let (leave, enter) = ports(&widths, &places, &edges);
        for pair in [(0, 1), (1, 2), (0, 2)] {
            let is_left =
                |places: &[f64], offset| places[pair.0 + offset] < places[pair.1 + offset];
            let below = places.middles[pair.0 + 1] < places.middles[pair.1 + 1];
            assert_eq!(is_left(&leave, 0), below);
            assert_eq!(is_left(&enter, 3), below);
        }
        // Alone, an edge is in the middle.
        assert!((enter[0] - places.middles[1]).abs() < 0.001);
    }
}
