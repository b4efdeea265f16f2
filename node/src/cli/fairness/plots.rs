//! The report as plots: one SVG with four panels, for light and dark.

use plotters::{
    coord::{Shift, ranged1d::ValueFormatter},
    element::DashedPathElement,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::{Report, document::loss};
use crate::fairness::{Cell, Figure, Placement};

const SIZE: (u32, u32) = (1240, 900);
const FONT: &str = "system-ui, sans-serif";

/// A colour on light ground, and its hexadecimal digits there and on dark ground.
type Themed = (RGBColor, &'static str, &'static str);

const PAPER: Themed = (RGBColor(0xff, 0xff, 0xff), "FFFFFF", "15191E");
const INK: Themed = (RGBColor(0x1f, 0x29, 0x33), "1F2933", "E9ECEF");
const FAINT: Themed = (RGBColor(0x5c, 0x69, 0x77), "5C6977", "A6B0BB");
const GRID: Themed = (RGBColor(0xe3, 0xe7, 0xeb), "E3E7EB", "2E353D");
const FAIR: Themed = (RGBColor(0x8a, 0x94, 0xa0), "8A94A0", "77818C");
/// One for each number of nodes, again from the start when they run out.
const HUES: [Themed; 5] = [
    (RGBColor(0x1c, 0x6d, 0xd0), "1C6DD0", "6CB2FF"),
    (RGBColor(0xd9, 0x5f, 0x02), "D95F02", "FFA94D"),
    (RGBColor(0x1b, 0x8a, 0x5a), "1B8A5A", "5FD39B"),
    (RGBColor(0x8e, 0x44, 0xad), "8E44AD", "D08CF0"),
    (RGBColor(0xb0, 0x2a, 0x5b), "B02A5B", "FF85B3"),
];
/// Bars of more nodes than this are too thin to read.
const BARS_MAX: usize = 64;
/// The numbers of nodes and vnodes whose nodes are shown one by one, or what comes closest.
const BARS_OF: (u32, u32) = (10, 100);

/// Why nothing was drawn.
#[derive(Debug, thiserror::Error)]
#[error("the plots cannot be drawn: {0}")]
pub(super) struct CannotDraw(String);

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), CannotDraw>;

fn failed(error: impl std::fmt::Display) -> CannotDraw {
    CannotDraw(error.to_string())
}

/// One line of a panel: what it is of, and its figure at each number of vnodes.
struct Line {
    name: String,
    hue: Themed,
    /// One of a hashed ring that stands beside balanced ones.
    is_dashed: bool,
    points: Vec<(f64, Figure)>,
}

/// All four panels.
pub(super) fn svg(report: &Report) -> Result<String, CannotDraw> {
    let mut svg = String::new();
    {
        let canvas = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        canvas.fill(&PAPER.0).map_err(failed)?;
        let panels = canvas.margin(8, 8, 8, 8).split_evenly((2, 2));
        let beyond = lines(report, |cell| cell.figure(|sample| (sample.slot.primary.max - 1.0) * 100.0));
        panel(&panels[0], "What the fullest node has beyond its share, in %", Scale::Beyond, &beyond)?;
        bars(&panels[1], report)?;
        let join = lines(report, |cell| cell.figure(|sample| sample.join.share / sample.join.ideal.max(1e-9)));
        panel(&panels[2], "Moved when a node joins, by the least possible", Scale::AroundOne, &join)?;
        let lost = report.question.losses.first().copied().unwrap_or_default();
        let title = format!("Chance in % that {lost} nodes lost at once hit all owners of a slot");
        let chance = lines(report, |cell| {
            let chance = loss(cell, 0);
            Figure { mean: chance.mean * 100.0, p5: chance.p5 * 100.0, p95: chance.p95 * 100.0 }
        });
        panel(&panels[3], &title, Scale::Percent, &chance)?;
        canvas.present().map_err(failed)?;
    }
    Ok(themed(&svg))
}

/// Follows the reader's choice of light or dark, as colours in rules are stronger than those in attributes.
fn themed(svg: &str) -> String {
    let mut rules = String::from("text{font-variant-numeric:tabular-nums}@media (prefers-color-scheme: dark){");
    for (_, light, dark) in [PAPER, INK, FAINT, GRID, FAIR].into_iter().chain(HUES) {
        rules += &format!("[fill=\"#{light}\"]{{fill:#{dark}}}[stroke=\"#{light}\"]{{stroke:#{dark}}}");
    }
    rules.push('}');
    let end = svg.find('>').map_or(0, |end| end + 1);
    let (head, body) = svg.split_at(end);
    format!("{head}\n<style>{rules}</style>{body}")
}

fn lines(report: &Report, of: impl Fn(&Cell) -> Figure) -> Vec<Line> {
    let (sizes, placements) = (&report.question.nodes, &report.question.placements);
    let mut lines = Vec::new();
    for (index, nodes) in sizes.iter().enumerate() {
        for placement in placements {
            let cells = report.cells.iter().filter(|cell| cell.nodes == *nodes && cell.placement == *placement);
            let points: Vec<_> = cells.map(|cell| (f64::from(cell.vnodes), of(cell))).collect();
            if points.is_empty() {
                continue;
            }
            let name = if placements.len() > 1 {
                format!("{nodes} nodes, {}", placement.name())
            } else {
                format!("{nodes} nodes")
            };
            lines.push(Line {
                name,
                hue: HUES[index % HUES.len()],
                is_dashed: placements.len() > 1 && *placement == Placement::Hashed,
                points,
            });
        }
    }
    lines
}

/// What a panel's upright axis shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    /// Percent beyond the fair share, by their logarithm: a hashed ring is a straight line.
    Beyond,
    AroundOne,
    Percent,
}

/// Lines with bands over the number of vnodes.
fn panel(area: &Canvas<'_>, title: &str, scale: Scale, lines: &[Line]) -> Drawn {
    let points = || lines.iter().flat_map(|line| &line.points);
    let most = points().map(|(_, figure)| figure.p95).fold(f64::MIN, f64::max);
    let least = points().map(|(_, figure)| figure.p5).fold(f64::MAX, f64::min);
    let (low, high) = match scale {
        Scale::Beyond => (least.clamp(0.1, 1.0), most.max(10.0) * 1.3),
        Scale::AroundOne => {
            let off = (most - 1.0).max(1.0 - least).clamp(0.05, 2.0) * 1.1;
            ((1.0 - off).max(0.0), 1.0 + off)
        }
        Scale::Percent => (0.0, 104.0),
    };
    let (first, last) =
        points().map(|(vnodes, _)| *vnodes).fold((f64::MAX, f64::MIN), |(a, b), at| (a.min(at), b.max(at)));
    let mut builder = ChartBuilder::on(area);
    builder
        .margin(10)
        .caption(title, (FONT, 19).into_font().style(FontStyle::Bold).color(&INK.0))
        .x_label_area_size(42)
        .y_label_area_size(54);
    let across = (first.max(1.0) * 0.93..last.max(first + 1.0) * 1.07).log_scale();
    if scale == Scale::Beyond {
        let upright = (low..high).log_scale();
        let mut chart = builder.build_cartesian_2d(across, upright).map_err(failed)?;
        mesh(&mut chart, scale)?;
        draw(&mut chart, lines, (low, high), scale)
    } else {
        let mut chart = builder.build_cartesian_2d(across, low..high).map_err(failed)?;
        mesh(&mut chart, scale)?;
        if scale == Scale::AroundOne {
            let fair = [(first, 1.0), (last, 1.0)];
            chart.draw_series(LineSeries::new(fair, FAIR.0.stroke_width(1))).map_err(failed)?;
        }
        draw(&mut chart, lines, (low, high), scale)
    }
}

type Chart<'c, 'b, X, Y> = ChartContext<'c, SVGBackend<'b>, Cartesian2d<X, Y>>;

fn mesh<X, Y>(chart: &mut Chart<'_, '_, X, Y>, scale: Scale) -> Drawn
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let upright = move |value: &f64| match scale {
        Scale::AroundOne => format!("{value:.2}"),
        Scale::Beyond | Scale::Percent => format!("{value}"),
    };
    chart
        .configure_mesh()
        .axis_style(FAINT.0)
        .bold_line_style(GRID.0)
        .light_line_style(TRANSPARENT)
        .label_style((FONT, 14).into_font().color(&FAINT.0))
        .x_desc("vnodes of a node")
        .axis_desc_style((FONT, 14).into_font().color(&FAINT.0))
        .x_label_formatter(&|value| format!("{value:.0}"))
        .y_label_formatter(&upright)
        .x_labels(12)
        .y_labels(8)
        .draw()
        .map_err(failed)
}

fn draw<'b: 'c, 'c, X, Y>(
    chart: &mut Chart<'c, 'b, X, Y>,
    lines: &[Line],
    (low, high): (f64, f64),
    scale: Scale,
) -> Drawn
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64> + 'static,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64> + 'static,
{
    let inside = |value: f64| value.clamp(low, high);
    for line in lines {
        let upper = line.points.iter().map(|(x, figure)| (*x, inside(figure.p95)));
        let lower = line.points.iter().rev().map(|(x, figure)| (*x, inside(figure.p5)));
        let band: Vec<_> = upper.chain(lower).collect();
        let opacity = if line.is_dashed { 0.08 } else { 0.16 };
        chart.draw_series([Polygon::new(band, line.hue.0.mix(opacity))]).map_err(failed)?;
    }
    for line in lines {
        let mean: Vec<_> = line.points.iter().map(|(x, figure)| (*x, inside(figure.mean))).collect();
        let style = line.hue.0.stroke_width(2);
        let dots = mean.iter().map(|at| Circle::new(*at, 3, line.hue.0.filled())).collect::<Vec<_>>();
        let drawn = if line.is_dashed {
            chart.draw_series(DashedLineSeries::new(mean, 6, 4, style)).map_err(failed)?
        } else {
            chart.draw_series(LineSeries::new(mean, style)).map_err(failed)?
        };
        let is_dashed = line.is_dashed;
        drawn.label(line.name.as_str()).legend(move |(x, y)| {
            let size = if is_dashed { (7, 4) } else { (26, 0) };
            DashedPathElement::new(vec![(x - 4, y), (x + 20, y)], size.0, size.1, style).into_dyn()
        });
        chart.draw_series(dots).map_err(failed)?;
    }
    // Where the lines are not.
    let corner =
        if scale == Scale::Percent { SeriesLabelPosition::LowerRight } else { SeriesLabelPosition::UpperRight };
    chart
        .configure_series_labels()
        .position(corner)
        .background_style(PAPER.0.mix(0.85))
        .border_style(GRID.0)
        .label_font((FONT, 14).into_font().color(&INK.0))
        .legend_area_size(30)
        .margin(8)
        .draw()
        .map_err(failed)
}

/// The nodes of one ring, one by one.
fn bars(area: &Canvas<'_>, report: &Report) -> Drawn {
    let distance = |cell: &&Cell| (cell.nodes.abs_diff(BARS_OF.0), cell.vnodes.abs_diff(BARS_OF.1));
    let Some(nearest) = report.cells.iter().min_by_key(distance) else { return Ok(()) };
    let same = |cell: &&Cell| (cell.nodes, cell.vnodes) == (nearest.nodes, nearest.vnodes);
    let shown: Vec<(&str, Vec<f64>)> = report
        .cells
        .iter()
        .filter(same)
        .filter_map(|cell| {
            let nodes = &cell.samples.first()?.nodes;
            Some((cell.placement.name(), nodes.iter().take(BARS_MAX).map(|node| node.primary).collect()))
        })
        .collect();
    let count = shown.iter().map(|(_, loads)| loads.len()).max().unwrap_or(1);
    let most = shown.iter().flat_map(|(_, loads)| loads).copied().fold(1.0, f64::max);
    let title = format!("Node by node: {} nodes with {} vnodes, first ring", nearest.nodes, nearest.vnodes);
    let count = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .caption(title, (FONT, 19).into_font().style(FontStyle::Bold).color(&INK.0))
        .x_label_area_size(42)
        .y_label_area_size(54)
        .build_cartesian_2d(0.0..count, 0.0..most * 1.22)
        .map_err(failed)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .axis_style(FAINT.0)
        .bold_line_style(GRID.0)
        .light_line_style(TRANSPARENT)
        .label_style((FONT, 14).into_font().color(&FAINT.0))
        .axis_desc_style((FONT, 14).into_font().color(&FAINT.0))
        .x_desc("slots as primary, as a part of the fair share")
        .x_labels(0)
        .y_labels(6)
        .y_label_formatter(&|value| format!("{value:.1}"))
        .draw()
        .map_err(failed)?;
    let width = 0.8 / f64::from(u32::try_from(shown.len().max(1)).unwrap_or(1));
    for (place, (name, loads)) in (0_u32..).zip(&shown) {
        let hue = HUES[place as usize % HUES.len()].0;
        let bar = |(index, load): (u32, &f64)| {
            let left = f64::from(index) + 0.1 + width * f64::from(place);
            Rectangle::new([(left, 0.0), (left + width * 0.92, *load)], hue.mix(0.9).filled())
        };
        let drawn = chart.draw_series((0..).zip(loads).map(bar)).map_err(failed)?;
        drawn.label(*name).legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 16, y + 5)], hue.filled()));
        if loads.len() <= 12 {
            let size = if shown.len() > 1 { 11 } else { 13 };
            let style = (FONT, size).into_font().color(&INK.0).pos(Pos::new(HPos::Center, VPos::Bottom));
            let label = |(index, load): (u32, &f64)| {
                let middle = f64::from(index) + 0.1 + width * (f64::from(place) + 0.46);
                Text::new(format!("{load:.2}"), (middle, *load + most * 0.01), style.clone())
            };
            chart.draw_series((0..).zip(loads).map(label)).map_err(failed)?;
        }
    }
    chart.draw_series(LineSeries::new([(0.0, 1.0), (count, 1.0)], FAIR.0.stroke_width(1))).map_err(failed)?;
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(PAPER.0.mix(0.85))
        .border_style(GRID.0)
        .label_font((FONT, 14).into_font().color(&INK.0))
        .margin(8)
        .draw()
        .map_err(failed)
}
