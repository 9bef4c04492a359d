//! A picture of a template.

use std::fmt::Write as _;

use tasker_templates::{StepDefinition, StepEdgeKind, StepType, TaskTemplate};

use super::kind;
use super::layers::layers;
use super::layout::{Layout, layout};
use super::ports::{float, ports};

/// The widths of most characters, of capital letters, and of the widest ones.
const CHARACTER: f64 = 7.6;
const CAPITAL: f64 = 9.6;
const WIDE: f64 = 13.4;
const BOX_HEIGHT: f64 = 44.0;
/// The room between two layers: that of short edges, and of edges that lead far to a side.
const LAYER_GAP: (f64, f64) = (48.0, 120.0);
const MARGIN: f64 = 24.0;
/// The width of the title's characters, compared with that of others.
const TITLE_FONT: f64 = 1.3;
/// The offset of the boxes behind that of a batch worker.
const STACK: f64 = 4.0;
const TITLE_HEIGHT: f64 = 36.0;
const LEGEND_HEIGHT: f64 = 40.0;

pub(crate) fn render(template: &TaskTemplate) -> String {
    let edges = template.step_edges();
    let (layers, followed) = layers(template, &edges);
    let widths: Vec<f64> = template.steps.iter().map(width).collect();
    let places = layout(&widths, &layers, &followed);
    let (leave, enter) = ports(&widths, &places, &followed);
    let tops = tops(&layers, &followed, &places);
    let title = format!(
        "{}/{} {}",
        template.namespace_name, template.name, template.version
    );
    let picture = Picture {
        template,
        layers: &layers,
        tops: &tops,
        widths: &widths,
        places: &places,
    };
    let inner = places.width.max(length(&title) * TITLE_FONT).max(360.0);
    let (width, height) = (
        inner + 2.0 * MARGIN,
        TITLE_HEIGHT + tops.last().unwrap_or(&0.0) + LEGEND_HEIGHT + MARGIN,
    );
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <title>{title}</title>\n\
         <defs><marker id=\"arrow\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"7\" \
         markerHeight=\"7\" orient=\"auto-start-reverse\"><path d=\"M0 0L10 5L0 10z\" \
         fill=\"#555\"/></marker></defs>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{MARGIN:.0}\" y=\"28\" font-size=\"15\" font-weight=\"bold\" fill=\"#222\">{title}</text>\n",
        title = escaped(&title),
    );
    let shift = MARGIN + (inner - places.width) / 2.0;
    let _ = writeln!(
        svg,
        "<g transform=\"translate({shift:.1} {TITLE_HEIGHT})\">"
    );
    for (number, &(from, to)) in followed.iter().enumerate() {
        let names = (&template.steps[from].name, &template.steps[to].name);
        let edge = edges
            .iter()
            .find(|edge| edge.from == names.0 && edge.to == names.1);
        let kind = edge.map_or(StepEdgeKind::Dependency, |edge| edge.kind);
        let ends = (leave[number], enter[number]);
        picture.edge(&mut svg, (from, to), ends, &places.bends[number], kind);
    }
    for step in 0..template.steps.len() {
        picture.step(&mut svg, step);
    }
    svg.push_str("</g>\n");
    legend(&mut svg, height - LEGEND_HEIGHT / 2.0);
    svg.push_str("</svg>\n");
    svg
}

struct Picture<'a> {
    template: &'a TaskTemplate,
    layers: &'a [usize],
    /// The top of the boxes of each layer, and that of a layer below the last.
    tops: &'a [f64],
    widths: &'a [f64],
    places: &'a Layout,
}

impl Picture<'_> {
    fn edge(
        &self,
        svg: &mut String,
        (from, to): (usize, usize),
        (leave, enter): (f64, f64),
        bends: &[f64],
        kind: StepEdgeKind,
    ) {
        let mut points = vec![(leave, self.tops[self.layers[from]] + BOX_HEIGHT)];
        for (number, bend) in bends.iter().enumerate() {
            let top = self.tops[self.layers[from] + 1 + number];
            // Straight along the boxes of the layer, so that the line does not cut their corners.
            points.push((*bend, top));
            points.push((*bend, top + BOX_HEIGHT));
        }
        let is_stack = self.template.steps[to].step_type == StepType::BatchWorker;
        let stack = if is_stack { 2.0 * STACK } else { 0.0 };
        points.push((enter, self.tops[self.layers[to]] - stack));
        let mut path = format!("M{:.1} {:.1}", points[0].0, points[0].1);
        for pair in points.windows(2) {
            let ((x1, y1), (x2, y2)) = (pair[0], pair[1]);
            let half = (y2 - y1) / 2.0;
            let _ = write!(
                path,
                "C{x1:.1} {:.1} {x2:.1} {:.1} {x2:.1} {y2:.1}",
                y1 + half,
                y2 - half
            );
        }
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"#555\" stroke-width=\"1.3\"{} \
             marker-end=\"url(#arrow)\"/>",
            dashes(kind)
        );
    }

    fn step(&self, svg: &mut String, index: usize) {
        let step = &self.template.steps[index];
        let (width, middle) = (self.widths[index], self.places.middles[index]);
        let (left, top) = (middle - width / 2.0, self.tops[self.layers[index]]);
        let (fill, stroke) = colours(step.step_type);
        if step.step_type == StepType::BatchWorker {
            // A stack, because there is one for each batch.
            for offset in [2.0 * STACK, STACK] {
                rectangle(svg, (left + offset, top - offset), width, (fill, stroke));
            }
        }
        rectangle(svg, (left, top), width, (fill, stroke));
        if step.step_type == StepType::DeferredConvergence {
            let inner = (left + 3.0, top + 3.0);
            let _ = writeln!(
                svg,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"6\" \
                 fill=\"none\" stroke=\"{stroke}\"/>",
                inner.0,
                inner.1,
                width - 6.0,
                BOX_HEIGHT - 6.0
            );
        }
        let kind = kind(step.step_type);
        let line = top + if kind.is_some() { 19.0 } else { 27.0 };
        let name = escaped(&step.name);
        let _ = writeln!(
            svg,
            "<text x=\"{middle:.1}\" y=\"{line:.1}\" text-anchor=\"middle\" fill=\"#222\">{name}</text>"
        );
        if let Some(kind) = kind {
            let _ = writeln!(
                svg,
                "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"11\" \
                 fill=\"{stroke}\">{kind}</text>",
                top + 35.0
            );
        }
    }
}

/// Returns the top of each layer's boxes, and that of a layer below the last.
fn tops(layers: &[usize], edges: &[(usize, usize)], places: &Layout) -> Vec<f64> {
    let depth = layers.iter().max().map_or(0, |last| last + 1);
    let mut gaps = vec![LAYER_GAP.0; depth];
    for (&(from, to), bends) in edges.iter().zip(&places.bends) {
        let ends = [places.middles[from], places.middles[to]];
        let points: Vec<f64> = [&ends[..1], bends, &ends[1..]].concat();
        for (number, pair) in points.windows(2).enumerate() {
            let gap = &mut gaps[layers[from] + number];
            // An edge that is flatter than this cannot be followed.
            *gap = gap.max((pair[1] - pair[0]).abs() / 12.0).min(LAYER_GAP.1);
        }
    }
    let mut tops = vec![LAYER_GAP.0 / 2.0];
    for gap in gaps {
        tops.push(tops[tops.len() - 1] + BOX_HEIGHT + gap);
    }
    tops
}

fn rectangle(svg: &mut String, (left, top): (f64, f64), width: f64, (fill, stroke): (&str, &str)) {
    let _ = writeln!(
        svg,
        "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{BOX_HEIGHT}\" rx=\"8\" \
         fill=\"{fill}\" stroke=\"{stroke}\" stroke-width=\"1.3\"/>"
    );
}

fn legend(svg: &mut String, line: f64) {
    let mut left = MARGIN;
    for (kind, label) in [
        (StepEdgeKind::Dependency, "depends on"),
        (StepEdgeKind::Decision, "may create"),
        (StepEdgeKind::Batch, "one for each batch"),
    ] {
        let end = left + 32.0;
        let _ = writeln!(
            svg,
            "<path d=\"M{left:.0} {line:.0}H{end:.0}\" stroke=\"#555\" stroke-width=\"1.3\"{}/>\
             <text x=\"{:.0}\" y=\"{:.0}\" font-size=\"11\" fill=\"#555\">{label}</text>",
            dashes(kind),
            end + 6.0,
            line + 4.0
        );
        left = end + 16.0 + 6.4 * float(label.len());
    }
}

fn dashes(kind: StepEdgeKind) -> &'static str {
    match kind {
        StepEdgeKind::Dependency => "",
        StepEdgeKind::Decision => " stroke-dasharray=\"7 4\"",
        StepEdgeKind::Batch => " stroke-dasharray=\"2 3\"",
    }
}

/// Returns the colours of a box and of its border.
fn colours(step_type: StepType) -> (&'static str, &'static str) {
    match step_type {
        StepType::Standard => ("#f4f6f8", "#5b6b7b"),
        StepType::Decision => ("#fff4d6", "#a06a00"),
        StepType::DeferredConvergence => ("#e6f4ea", "#2e7d4f"),
        StepType::Batchable => ("#e8eefc", "#3557b7"),
        StepType::BatchWorker => ("#f1eafb", "#6b45a8"),
    }
}

fn width(step: &StepDefinition) -> f64 {
    (length(&step.name) + 28.0).max(84.0)
}

fn length(text: &str) -> f64 {
    let width = |character: char| match character {
        // The last are scripts whose characters are as wide as high.
        'M' | 'W' | 'm' | 'w' | '@' | '%' | '\u{1100}'.. => WIDE,
        _ if character.is_uppercase() => CAPITAL,
        _ => CHARACTER,
    };
    text.chars().map(width).sum()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
