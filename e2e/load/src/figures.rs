//! What was measured in all rounds, and the lines that come of it.

use std::collections::BTreeMap;

use crate::clients::Run;

/// What one run of a job gave.
pub struct Sample {
    /// What the clients measured.
    pub run: Run,
    /// Bytes sent to the disk for each byte stored.
    pub bytes_per_byte: Option<f64>,
    /// Syncs for 1,000 commits.
    pub syncs_per_1000: Option<f64>,
}

/// All samples, by job and contender, and of each by round: one may have failed.
#[derive(Default)]
pub struct Figures {
    samples: BTreeMap<(&'static str, &'static str), BTreeMap<u64, Sample>>,
}

/// What is told of a job: its name, whether more is better, and where it is in a sample.
type Metric = (&'static str, bool, fn(&Sample) -> Option<f64>);

const METRICS: [Metric; 6] = [
    ("per_s", true, |sample| Some(sample.run.per_second)),
    ("p50_us", false, |sample| Some(sample.run.p50)),
    ("p99_us", false, |sample| Some(sample.run.p99)),
    ("p999_us", false, |sample| Some(sample.run.p999)),
    ("bytes_per_byte", false, |sample| sample.bytes_per_byte),
    ("syncs_per_1000", false, |sample| sample.syncs_per_1000),
];

impl Figures {
    /// Adds what a job gave in a round.
    pub fn add(&mut self, job: &'static str, contender: &'static str, round: u64, sample: Sample) {
        self.samples
            .entry((job, contender))
            .or_default()
            .insert(round, sample);
    }

    /// One JSON object for each metric of a job that both have. A goal is for the metric of that name.
    pub fn lines(
        &self,
        bench: &str,
        job: &'static str,
        ours: &'static str,
        peer: &'static str,
        goals: &[(&str, f64)],
    ) -> Vec<String> {
        let (Some(our_samples), Some(peer_samples)) =
            (self.samples.get(&(job, ours)), self.samples.get(&(job, peer)))
        else {
            return Vec::new();
        };
        let line = |(name, more_is_better, value): &Metric| {
            let both = our_samples
                .iter()
                .filter_map(|(round, our)| Some((our, peer_samples.get(round)?)));
            let pairs: Vec<(f64, f64)> = both
                .filter_map(|(our, their)| Some((value(our)?, value(their)?)))
                .collect();
            let ratio = |(our, their): &(f64, f64)| match more_is_better {
                true => our / their,
                false => their / our,
            };
            let ratios: Vec<f64> = pairs.iter().map(ratio).collect();
            let median_ratio = median(&ratios)?;
            let goal = goals.iter().find(|(of, _)| of == name).map(|(_, goal)| *goal);
            let (our, their): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
            let line = serde_json::json!({
                "bench": bench,
                "metric": format!("{job}_{ours}.{name}"),
                "pliantdb": median(&our).map(round),
                "pliantdb_spread": spread(&our),
                "peer": median(&their).map(round),
                "peer_spread": spread(&their),
                "peer_name": peer,
                "ratio": round(median_ratio),
                "spread": spread(&ratios),
                "goal": goal,
                "met": goal.map(|goal| median_ratio >= goal),
            });
            Some(line.to_string())
        };
        METRICS.iter().filter_map(line).collect()
    }
}

/// The one in the middle; `None` if there is none.
#[must_use]
pub fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

/// The least and the greatest.
#[must_use]
pub fn spread(figures: &[f64]) -> [f64; 2] {
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let most = figures.iter().copied().fold(0.0, f64::max);
    [round(least), round(most)]
}

/// Three digits that count.
#[must_use]
pub fn round(figure: f64) -> f64 {
    if figure == 0.0 || !figure.is_finite() {
        return figure;
    }
    let unit = 10f64.powf(figure.abs().log10().floor() - 2.0);
    // A whole number of units, written without the dust of the division.
    if unit >= 1.0 {
        (figure / unit).round() * unit
    } else {
        (figure / unit).round() / (1.0 / unit).round()
    }
}
