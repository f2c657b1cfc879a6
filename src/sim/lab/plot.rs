//! Results as a picture: how start-ups and stalls are distributed, who gave how much, what viewers had ahead.
//!
//! One picture of four panels, as SVG. A colour is a policy where policies are compared, else a class of viewers.
//! Fonts are the viewer's: no text is measured here.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::curve::{Curve, curves};
use super::figures::FIGURES;
use super::results::Results;
use super::spread::Spread;

/// Pixels.
const SIZE: (u32, u32) = (1_200, 860);
/// Pixels above the panels.
const HEAD: u32 = 104;
const INK: RGBColor = RGBColor(40, 44, 52);
const PALE: RGBColor = RGBColor(120, 126, 136);
const GRID: RGBColor = RGBColor(228, 231, 236);
/// About a letter of the legend, in pixels.
const LETTER: i32 = 8;
/// Letters of a line below the title.
const MOST_LETTERS: usize = 160;
/// The least seconds that an axis shows.
const LEAST_SECONDS: f64 = 2.0;

/// A picture that could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("the picture cannot be drawn: {0}")]
pub struct PlotError(String);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Draws all of it.
///
/// # Errors
/// When what draws it refuses.
pub fn plot(results: &Results<'_>) -> Result<String, PlotError> {
    let mut svg = String::new();
    let drawn = draw(&SVGBackend::with_string(&mut svg, SIZE).into_drawing_area(), results);
    drawn.map_err(|error| PlotError(error.to_string()))?;
    Ok(svg)
}

fn draw(root: &Area<'_>, results: &Results<'_>) -> Drawn {
    root.fill(&WHITE)?;
    let (head, body) = root.split_vertically(HEAD);
    let curves = curves(results);
    draw_head(&head, results, &curves)?;
    let panels = body.split_evenly((2, 2));
    draw_shares(&panels[0], "Start-up", "seconds from opening to the first picture", &curves, |c| {
        &c.start_ups
    })?;
    draw_shares(&panels[1], "Stalls", "seconds spent in stalls", &curves, |c| &c.stalls)?;
    draw_levels(&panels[2], &curves)?;
    draw_given(&panels[3], results)?;
    root.present()
}

fn font(size: u32, color: RGBColor) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&color)
}

/// Title, what was run, and which colour is what.
fn draw_head(area: &Area<'_>, results: &Results<'_>, curves: &[Curve]) -> Drawn {
    let plan = results.plan;
    area.draw(&Text::new(format!("{}: {}", plan.name, plan.title), (24, 16), font(26, INK)))?;
    let hosts: Vec<_> = plan.classes.iter().map(|class| format!("{} {}", class.count, class.name)).collect();
    let mut what = format!("{}; {}; hosts: {}", results.what(), results.which(), hosts.join(", "));
    if let Some((cut, _)) = what.char_indices().nth(MOST_LETTERS) {
        what.truncate(cut);
        what.push('…');
    }
    area.draw(&Text::new(what, (24, 46), font(17, PALE)))?;
    let mut x = 24;
    for curve in curves {
        area.draw(&Rectangle::new([(x, 78), (x + 22, 84)], curve.color.filled()))?;
        area.draw(&Text::new(curve.name.clone(), (x + 30, 73), font(18, INK)))?;
        x += 30 + LETTER * curve.name.chars().count() as i32 + 28;
    }
    Ok(())
}

/// A panel with a caption, axes and a pale grid.
macro_rules! panel {
    ($area:expr, $caption:expr, $x:expr, $y:expr, $x_what:expr, $y_what:expr, $percent:expr) => {{
        let mut chart = ChartBuilder::on($area)
            .margin(18)
            .margin_right(28)
            .caption($caption, font(22, INK))
            .x_label_area_size(46)
            .y_label_area_size(62)
            .build_cartesian_2d($x, $y)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(PALE)
            .label_style(font(15, PALE))
            .axis_desc_style(font(16, PALE))
            .x_desc($x_what)
            .y_desc($y_what)
            .x_labels(if $x_what.is_empty() { 0 } else { 8 })
            .y_labels(6)
            .y_label_formatter(&|y| if $percent { format!("{:.0} %", y * 100.0) } else { format!("{y:.0}") })
            .x_label_formatter(&|x| if *x == x.round() { format!("{x:.0}") } else { format!("{x:.1}") })
            .draw()?;
        chart
    }};
}

/// Which part of the viewers had at most so much.
fn draw_shares(
    area: &Area<'_>,
    caption: &str,
    what: &str,
    curves: &[Curve],
    of: impl Fn(&Curve) -> &Vec<f64>,
) -> Drawn {
    let most = curves.iter().flat_map(|curve| of(curve).iter().copied()).filter(|value| value.is_finite());
    let most = most.fold(LEAST_SECONDS, f64::max) * 1.04;
    let mut chart = panel!(area, caption, 0.0..most, 0.0..1.02_f64, what, "viewers", true);
    for curve in curves {
        chart.draw_series(LineSeries::new(steps(of(curve), most), curve.color.stroke_width(2)))?;
    }
    Ok(())
}

/// The stairs of a distribution, from values in order; those that never came are no stairs.
fn steps(values: &[f64], end: f64) -> Vec<(f64, f64)> {
    let (mut line, mut height) = (vec![(0.0, 0.0)], 0.0);
    for (n, value) in values.iter().enumerate().filter(|(_, value)| value.is_finite()) {
        line.push((*value, height));
        height = (n + 1) as f64 / values.len() as f64;
        line.push((*value, height));
    }
    line.push((end, height));
    line
}

/// What viewers had ahead, over time: the middle of them, and nine of ten around it.
fn draw_levels(area: &Area<'_>, curves: &[Curve]) -> Drawn {
    let all = || curves.iter().flat_map(|curve| &curve.levels);
    let end = all().map(|level| level.at as f64).fold(LEAST_SECONDS, f64::max);
    let most = all().map(|level| level.high).fold(LEAST_SECONDS, f64::max) * 1.05;
    let what = "seconds of media ahead";
    let caption = "Buffer of those who watch: median, and 5 % to 95 %";
    let mut chart = panel!(area, caption, 0.0..end, 0.0..most, "simulated time, seconds", what, false);
    for curve in curves {
        let low = curve.levels.iter().rev().map(|level| (level.at as f64, level.low));
        let band: Vec<_> =
            curve.levels.iter().map(|level| (level.at as f64, level.high)).chain(low).collect();
        chart.draw_series([Polygon::new(band, curve.color.mix(0.14))])?;
    }
    for curve in curves {
        let middle = curve.levels.iter().map(|level| (level.at as f64, level.middle));
        chart.draw_series(LineSeries::new(middle, curve.color.stroke_width(2)))?;
    }
    Ok(())
}

/// Each class's part of all bytes, policy beside policy.
fn draw_given(area: &Area<'_>, results: &Results<'_>) -> Drawn {
    let Some(figure) = FIGURES.iter().find(|figure| figure.key == "given_share") else { return Ok(()) };
    let (classes, policies) = (&results.plan.classes, results.series.len());
    let mut chart =
        panel!(area, "Who gave", 0.0..classes.len() as f64, 0.0..1.08_f64, "", "of all bytes given", true);
    let mut texts = Vec::new();
    for (n, class) in classes.iter().enumerate() {
        let left = n as f64 + 0.15;
        let width = 0.7 / policies as f64;
        for (number, series) in results.series.iter().enumerate() {
            let Some(Spread { mean, min, max }) = series.spread(figure, Some(n)) else { continue };
            let from = left + width * number as f64;
            let (to, middle) = (from + width * 0.92, from + width * 0.46);
            let color = Curve::color(results, number, n);
            chart.draw_series([Rectangle::new([(from, 0.0), (to, mean)], color.filled())])?;
            if min < max {
                let whisker = vec![(middle, min), (middle, max)];
                chart.draw_series([PathElement::new(whisker, INK.stroke_width(1))])?;
            }
            let (x, y) = chart.backend_coord(&(middle, max));
            texts.push((format!("{:.0} %", mean * 100.0), (x, y - 16), font(15, INK)));
        }
        let (x, y) = chart.backend_coord(&(n as f64 + 0.5, 0.0));
        texts.push((class.name.clone(), (x, y + 10), font(17, INK)));
    }
    let (origin, _) = area.get_pixel_range();
    let top = area.get_pixel_range().1.start;
    for (text, (x, y), style) in texts {
        let style = style.pos(plotters::style::text_anchor::Pos::new(
            plotters::style::text_anchor::HPos::Center,
            plotters::style::text_anchor::VPos::Top,
        ));
        area.draw(&Text::new(text, (x - origin.start, y - top), style))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stairs_end_where_those_are_missing_who_never_came() {
        let line = steps(&[1.0, 2.0, f64::INFINITY, f64::INFINITY], 4.0);
        assert_eq!(line, [(0.0, 0.0), (1.0, 0.0), (1.0, 0.25), (2.0, 0.25), (2.0, 0.5), (4.0, 0.5)]);
    }
}
