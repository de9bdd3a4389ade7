//! What detectors give: boxes and scores, of which those that lie over a better one go. Knows numbers; no model.

use super::wrong;
use crate::Error;

/// A box that was kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// Left, top, right, bottom, in the model's own units.
    pub corners: [f32; 4],
    /// Its score.
    pub score: f32,
    /// Number of its class.
    pub class: usize,
    /// Which of the model's boxes it was.
    pub index: usize,
}

/// Which boxes go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Suppression {
    /// Least score of what stays.
    pub least_score: f32,
    /// Most overlap with a better box of the same class: common area over joint area.
    pub most_overlap: f32,
    /// At most so many stay.
    pub most: usize,
}

impl Default for Suppression {
    fn default() -> Self {
        Self { least_score: 0.5, most_overlap: 0.45, most: 300 }
    }
}

/// Corners of boxes that are told by centre and size (`[x, y, width, height]`), as YOLO's are.
pub fn corners([x, y, width, height]: [f32; 4]) -> [f32; 4] {
    [x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0]
}

/// The best boxes, by falling score. `boxes` has four corners for each box; `scores` has a number for each box and class,
/// classes of a box beside each other. Scores that are no number are none; of equal ones the first box comes first.
///
/// # Errors
/// Numbers that are not as many as boxes and classes say.
pub fn suppress(
    boxes: &[f32],
    scores: &[f32],
    n_classes: usize,
    rule: &Suppression,
) -> Result<Vec<Detection>, Error> {
    let (boxes, rest) = boxes.as_chunks::<4>();
    if !rest.is_empty() || n_classes == 0 || boxes.len().checked_mul(n_classes) != Some(scores.len()) {
        return Err(wrong(
            "boxes and scores",
            format!("four numbers and {n_classes} scores for each box"),
            format!("{} boxes and {} scores", boxes.len(), scores.len()),
        ));
    }
    let mut found: Vec<Detection> = scores
        .iter()
        .enumerate()
        .filter(|(_, score)| **score >= rule.least_score)
        .map(|(at, &score)| Detection {
            corners: boxes[at / n_classes],
            score,
            class: at % n_classes,
            index: at / n_classes,
        })
        .collect();
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<Detection> = Vec::new();
    for one in found {
        let hides = |other: &&Detection| {
            other.class == one.class && overlap(&other.corners, &one.corners) > rule.most_overlap
        };
        if kept.iter().find(hides).is_none() {
            kept.push(one);
        }
        if kept.len() == rule.most {
            break;
        }
    }
    Ok(kept)
}

/// Common area over joint area.
fn overlap(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    let area = |of: &[f32; 4]| (of[2] - of[0]).max(0.0) * (of[3] - of[1]).max(0.0);
    let common = [a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])];
    let common = area(&common);
    let joint = area(a) + area(b) - common;
    if joint > 0.0 { common / joint } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_over_a_better_one_of_its_class_goes() {
        let boxes = [0.0, 0.0, 2.0, 2.0, 0.1, 0.0, 2.1, 2.0, 5.0, 5.0, 6.0, 6.0, 0.0, 0.0, 2.0, 2.0];
        let scores = [0.8, 0.1, 0.9, 0.2, 0.1, 0.6, f32::NAN, 0.7];
        let kept = suppress(&boxes, &scores, 2, &Suppression::default()).unwrap();
        let told: Vec<(usize, usize)> = kept.iter().map(|one| (one.index, one.class)).collect();
        assert_eq!(told, [(1, 0), (3, 1), (2, 1)]);
        let one = Suppression { most: 1, ..Suppression::default() };
        assert_eq!(suppress(&boxes, &scores, 2, &one).unwrap().len(), 1);
        assert!(suppress(&boxes[..3], &scores, 2, &one).is_err());
        assert!(suppress(&boxes, &scores, 3, &one).is_err());
        assert!(suppress(&[], &[], 1, &one).unwrap().is_empty());
    }

    #[test]
    fn centres_and_sizes_become_corners() {
        assert_eq!(corners([5.0, 4.0, 2.0, 4.0]), [4.0, 2.0, 6.0, 6.0]);
    }
}
