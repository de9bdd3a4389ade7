//! Judging the planner by measurements of phones (`score-speed`, `score-choice`) and turning such measurements into cost
//! tables (`fit-costs`). Owns reading the files, the protocols and the reports; has no model of its own: every number that is
//! judged comes from the planner.

mod choice;
mod costs;
mod file;
mod speed;

pub(crate) use choice::run as score_choice;
pub(crate) use costs::run as fit_costs;
pub(crate) use speed::run as score_speed;

/// The value below which `share` of the sorted values lie, between neighbours by their distance.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = share * last as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

/// Sorted copies of values.
fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
}
