//! Judging the planner by measurements of phones (`score-speed`, `score-choice`, `score-memory`) and turning such measurements into cost
//! tables (`fit-costs`). Owns reading the files, the protocols and the reports; has no model of its own: every number that is
//! judged comes from the planner.

mod choice;
mod costs;
mod file;
mod memory;
mod speed;

pub(crate) use choice::run as score_choice;
pub(crate) use costs::run as fit_costs;
pub(crate) use memory::run as score_memory;
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn quantiles_lie_between_neighbours() {
        let values = sorted([3.0, 1.0, 2.0]);
        assert_eq!([0.0, 0.25, 0.5, 1.0].map(|share| quantile(&values, share)), [1.0, 1.5, 2.0, 3.0]);
        assert!(quantile(&[], 0.5).is_nan());
    }

    /// The protocols run on the part of a phone's table that lies here; the phone is a source of the cost tables, which leaves it
    /// out.
    #[test]
    fn a_part_of_a_phone_is_judged() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/poco-myron-part.json");
        let phone = file::read(&path).expect("the part is whole");
        assert_eq!(phone.cells.len(), 48);
        let reference = speed::reference(&phone).expect("a model without recurrences");
        assert!(phone.cells.iter().any(|cell| cell.model == reference && cell.work.n_recurrent_layers == 0));
        let left = planner::speed::Tables::without(&phone.device);
        assert!(
            left.sources().count() > 0 && left.sources().all(|(_, source)| source.device != phone.device)
        );
        score_speed(&path).expect("it is judged");
        score_choice(&path).expect("it is judged");
        let error = score_memory(&path).expect_err("it tells of no buffers").to_string();
        assert!(error.contains("no cell reports buffers"), "{error}");
    }
}
