//! What was measured in all rounds, as lines.

/// A bound.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    Below(f64),
    AtLeast(f64),
    None,
}

/// Prints the median of the rounds, with the least and the greatest.
pub fn tell(metric: &str, rounds: &[f64], goal: Goal) {
    let mut sorted = rounds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (Some(least), Some(most), Some(median)) =
        (sorted.first(), sorted.last(), sorted.get(sorted.len() / 2))
    else {
        return;
    };
    let (bound, is_met) = match goal {
        Goal::Below(bound) => (Some(bound), Some(*median < bound)),
        Goal::AtLeast(bound) => (Some(bound), Some(*median >= bound)),
        Goal::None => (None, None),
    };
    let line = serde_json::json!({
        "bench": "cluster", "metric": metric, "pliantdb": round(*median), "peer": null, "peer_name": null, "ratio": null,
        "spread": [round(*least), round(*most)], "goal": bound, "met": is_met,
    });
    println!("{line}");
}

/// Three digits that count, and no more behind the point than that takes.
fn round(figure: f64) -> f64 {
    if figure == 0.0 || !figure.is_finite() {
        return figure;
    }
    let digits = 2 - figure.abs().log10().floor() as i32;
    match digits > 0 {
        true => (figure * 10f64.powi(digits)).round() / 10f64.powi(digits),
        false => (figure / 10f64.powi(-digits)).round() * 10f64.powi(-digits),
    }
}

/// Of sorted figures, the one below which so great a part lies.
pub fn quantile(sorted: &[u32], part: f64) -> f64 {
    let at = (sorted.len().saturating_sub(1)) as f64 * part;
    sorted
        .get(at as usize)
        .map_or(f64::NAN, |figure| f64::from(*figure))
}
