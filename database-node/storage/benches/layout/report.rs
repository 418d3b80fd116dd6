//! Figures of several rounds, and their ratios to those of a baseline in the same round.

use std::collections::BTreeMap;

/// Which of two figures is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    More,
    Less,
}

type Metric = (String, Better);

/// All figures: by metric and layout, one a round.
#[derive(Default)]
pub struct Report {
    metrics: Vec<Metric>,
    figures: BTreeMap<(String, &'static str), Vec<f64>>,
    layouts: Vec<&'static str>,
}

impl Report {
    pub fn add(&mut self, metric: impl Into<String>, better: Better, layout: &'static str, figure: f64) {
        let metric = (metric.into(), better);
        if !self.layouts.contains(&layout) {
            self.layouts.push(layout);
        }
        self.figures
            .entry((metric.0.clone(), layout))
            .or_default()
            .push(figure);
        if !self.metrics.contains(&metric) {
            self.metrics.push(metric);
        }
    }

    /// One JSON object for each metric and layout. The baseline of a metric is the first layout that has it; a ratio
    /// above 1 is better than it.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (metric, better) in &self.metrics {
            let of = |layout| self.figures.get(&(metric.clone(), layout));
            let Some((baseline, base)) = self
                .layouts
                .iter()
                .find_map(|layout| Some((*layout, of(layout)?)))
            else {
                continue;
            };
            for layout in &self.layouts {
                let Some(figures) = of(layout) else { continue };
                let ratio = |(figure, base): (&f64, &f64)| match better {
                    Better::More => figure / base,
                    Better::Less => base / figure,
                };
                let ratios: Vec<f64> = figures.iter().zip(base).map(ratio).collect();
                lines.push(format!(
                    "{{\"bench\": \"layout\", \"metric\": \"{metric}.{layout}\", \"pliantdb\": {}, \"peer\": {}, \
                     \"peer_name\": \"{baseline}\", \"ratio\": {}, \"spread\": {}, \"goal\": null, \"met\": null}}",
                    number(median(figures)),
                    number(median(base)),
                    number(median(&ratios)),
                    spread(&ratios),
                ));
            }
        }
        lines
    }
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn spread(figures: &[f64]) -> String {
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let most = figures.iter().copied().fold(0.0, f64::max);
    format!("[{}, {}]", number(least), number(most))
}

/// Three digits that count.
fn number(figure: f64) -> String {
    if !figure.is_finite() {
        return "null".to_owned();
    }
    let digits = figure.abs().max(1e-6).log10().floor() as i32;
    let places = usize::try_from(2 - digits).unwrap_or(0);
    format!("{figure:.places$}")
}
