//! Places for boxes and bends: layer by layer, with few crossings.
//!
//! The usual method for layered graphs: an edge over several layers gets a bend in each of them,
//! rows are sorted by the mean place of their neighbours, and boxes are moved towards it.

/// Sweeps over all rows that sort them.
const SORTING_SWEEPS: usize = 12;
/// Sweeps over all rows that move boxes.
const MOVING_SWEEPS: usize = 24;
/// Room between the boxes of a row.
const GAP: f64 = 28.0;
/// The width that a bend needs.
const BEND: f64 = 10.0;

/// The places of boxes, and the ways of edges between them.
#[derive(Debug)]
pub(super) struct Layout {
    /// The middle of each box.
    pub(super) middles: Vec<f64>,
    /// The middles of the bends of each edge, one for each layer between its ends.
    pub(super) bends: Vec<Vec<f64>>,
    pub(super) width: f64,
}

/// A box, or a bend of an edge.
#[derive(Debug)]
struct Node {
    width: f64,
    middle: f64,
    above: Vec<usize>,
    below: Vec<usize>,
}

/// Lays out boxes of these widths, in these layers.
pub(super) fn layout(widths: &[f64], layers: &[usize], edges: &[(usize, usize)]) -> Layout {
    let depth = layers.iter().max().map_or(0, |last| last + 1);
    let mut rows: Vec<Vec<usize>> = vec![Vec::new(); depth];
    let mut nodes: Vec<Node> = widths.iter().map(|width| Node::new(*width)).collect();
    for (node, layer) in layers.iter().enumerate() {
        rows[*layer].push(node);
    }
    let mut ways = Vec::new();
    for &(from, to) in edges {
        let mut last = from;
        let mut way = Vec::new();
        for row in rows.iter_mut().take(layers[to]).skip(layers[from] + 1) {
            nodes.push(Node::new(BEND));
            let bend = nodes.len() - 1;
            row.push(bend);
            connect(&mut nodes, last, bend);
            way.push(bend);
            last = bend;
        }
        connect(&mut nodes, last, to);
        ways.push(way);
    }
    sort(&mut nodes, &mut rows);
    place(&mut nodes, &rows);
    let left = nodes.iter().map(|node| node.middle - node.width / 2.0);
    let left = left.fold(f64::INFINITY, f64::min).min(f64::MAX);
    for node in &mut nodes {
        node.middle -= left;
    }
    let right = nodes.iter().map(|node| node.middle + node.width / 2.0);
    Layout {
        width: right.fold(0.0, f64::max),
        middles: nodes[..widths.len()]
            .iter()
            .map(|node| node.middle)
            .collect(),
        bends: ways
            .iter()
            .map(|way| way.iter().map(|bend| nodes[*bend].middle).collect())
            .collect(),
    }
}

impl Node {
    fn new(width: f64) -> Self {
        Self {
            width,
            middle: 0.0,
            above: Vec::new(),
            below: Vec::new(),
        }
    }
}

fn connect(nodes: &mut [Node], from: usize, to: usize) {
    nodes[from].below.push(to);
    nodes[to].above.push(from);
}

/// Sorts each row by the mean rank of its neighbours, downwards and upwards in turns, and keeps the
/// order with the fewest crossings.
fn sort(nodes: &mut [Node], rows: &mut [Vec<usize>]) {
    let mut best = rows.to_vec();
    let mut fewest = crossings(nodes, rows);
    for sweep in 0..SORTING_SWEEPS {
        let downwards = sweep % 2 == 0;
        let order: Vec<usize> = if downwards {
            (0..rows.len()).collect()
        } else {
            (0..rows.len()).rev().collect()
        };
        for row in order {
            let rank = ranks(nodes.len(), rows);
            let mean = |node: &usize| {
                let near = if downwards {
                    &nodes[*node].above
                } else {
                    &nodes[*node].below
                };
                mean_of(near.iter().map(|near| rank[*near])).unwrap_or(rank[*node])
            };
            rows[row].sort_by(|a, b| mean(a).total_cmp(&mean(b)));
        }
        let now = crossings(nodes, rows);
        if now < fewest {
            fewest = now;
            best = rows.to_vec();
        }
    }
    rows.clone_from_slice(&best);
}

fn ranks(nodes: usize, rows: &[Vec<usize>]) -> Vec<f64> {
    let mut ranks = vec![0.0; nodes];
    for row in rows {
        let mut rank = 0.0;
        for node in row {
            ranks[*node] = rank;
            rank += 1.0;
        }
    }
    ranks
}

fn mean_of(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

fn crossings(nodes: &[Node], rows: &[Vec<usize>]) -> usize {
    let ranks = ranks(nodes.len(), rows);
    rows.iter()
        .map(|row| {
            let ends: Vec<f64> = row
                .iter()
                .flat_map(|node| {
                    let mut below: Vec<f64> =
                        nodes[*node].below.iter().map(|to| ranks[*to]).collect();
                    below.sort_by(f64::total_cmp);
                    below
                })
                .collect();
            let pairs = ends.iter().enumerate();
            pairs
                .map(|(index, end)| {
                    ends[index + 1..]
                        .iter()
                        .filter(|other| *other < end)
                        .count()
                })
                .sum::<usize>()
        })
        .sum()
}

/// Moves boxes towards the middle of their neighbours, without changing the order of rows.
fn place(nodes: &mut [Node], rows: &[Vec<usize>]) {
    for row in rows {
        spread(nodes, row, &vec![0.0; row.len()]);
    }
    for sweep in 0..MOVING_SWEEPS {
        let downwards = sweep % 2 == 0;
        let order: Vec<&Vec<usize>> = if downwards {
            rows.iter().collect()
        } else {
            rows.iter().rev().collect()
        };
        for row in order {
            let wanted: Vec<f64> = row
                .iter()
                .map(|node| {
                    let node = &nodes[*node];
                    let near = if downwards { &node.above } else { &node.below };
                    mean_of(near.iter().map(|near| nodes[*near].middle)).unwrap_or(node.middle)
                })
                .collect();
            spread(nodes, row, &wanted);
        }
    }
}

/// Places the boxes of a row as near to `wanted` as their widths allow: boxes that would overlap
/// form a block, whose place is the mean of those that its boxes want.
fn spread(nodes: &mut [Node], row: &[usize], wanted: &[f64]) {
    struct Block {
        /// The boxes, with their distances from the middle of the first one.
        boxes: Vec<(usize, f64)>,
        /// The sum of the places that the boxes want for the first one.
        sum: f64,
    }
    #[expect(clippy::cast_precision_loss, reason = "a row has few boxes")]
    fn first(block: &Block) -> f64 {
        block.sum / block.boxes.len() as f64
    }
    let mut blocks: Vec<Block> = Vec::new();
    for (node, wanted) in row.iter().zip(wanted) {
        let mut block = Block {
            boxes: vec![(*node, 0.0)],
            sum: *wanted,
        };
        while let Some(last) = blocks.last() {
            let (end, distance) = last.boxes[last.boxes.len() - 1];
            let (start, _) = block.boxes[0];
            let room = f64::midpoint(nodes[end].width, nodes[start].width) + GAP;
            if first(last) + distance + room <= first(&block) {
                break;
            }
            let shift = distance + room;
            let joined = blocks.pop().map(|mut last| {
                for (node, distance) in &block.boxes {
                    last.boxes.push((*node, distance + shift));
                }
                #[expect(clippy::cast_precision_loss, reason = "a row has few boxes")]
                let moved = shift * block.boxes.len() as f64;
                last.sum += block.sum - moved;
                last
            });
            if let Some(joined) = joined {
                block = joined;
            }
        }
        blocks.push(block);
    }
    for block in &blocks {
        for (node, distance) in &block.boxes {
            nodes[*node].middle = first(block) + distance;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{GAP, layout};

    #[test]
    fn boxes_of_a_row_do_not_overlap() {
        let widths = [100.0, 80.0, 120.0, 60.0, 90.0];
        let layers = [0, 1, 1, 1, 2];
        let edges = [(0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (3, 4), (0, 4)];
        let layout = layout(&widths, &layers, &edges);
        let mut row: Vec<(f64, f64)> = (1..4)
            .map(|one| (layout.middles[one], widths[one]))
            .collect();
        row.sort_by(|a, b| a.0.total_cmp(&b.0));
        for pair in row.windows(2) {
            let room = pair[1].0 - pair[0].0 - f64::midpoint(pair[0].1, pair[1].1);
            assert!(room >= GAP - 0.001, "{layout:?}");
        }
        assert_eq!(layout.bends[6].len(), 1);
    }

    #[test]
    fn a_line_is_straight_and_pairs_do_not_cross() {
        let line = layout(&[50.0, 90.0, 40.0], &[0, 1, 2], &[(0, 1), (1, 2)]);
        assert!((line.middles[0] - line.middles[2]).abs() < 0.001);
        let pairs = layout(&[50.0; 4], &[0, 0, 1, 1], &[(0, 3), (1, 2)]);
        let is_left = |a: usize, b: usize| pairs.middles[a] < pairs.middles[b];
        assert_eq!(is_left(0, 1), is_left(3, 2));
    }

    #[test]
    fn nothing_is_no_trouble() {
        assert_eq!(layout(&[], &[], &[]).middles.len(), 0);
    }
}
