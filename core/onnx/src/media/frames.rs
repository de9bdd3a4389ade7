//! Sound step by step, as models take it that carry a state: each step's new samples behind the last of the step before.
//! Knows samples alone.

/// Cuts sound that comes in any portions into steps of one length.
#[derive(Debug, Clone)]
pub struct Frames {
    step: usize,
    context: usize,
    /// What comes before the next step, then what waits for it.
    waiting: Vec<f32>,
}

impl Frames {
    /// Steps of `step` new samples (at least 1), each of which begins with the last `context` samples before it: silence
    /// before the first.
    pub fn new(step: usize, context: usize) -> Self {
        Self { step: step.max(1), context, waiting: vec![0.0; context] }
    }

    /// Takes samples, and gives the steps that are whole by now, each of `context + step` samples.
    pub fn push(&mut self, samples: &[f32]) -> Vec<Vec<f32>> {
        self.waiting.extend_from_slice(samples);
        let n = (self.waiting.len() - self.context) / self.step;
        let steps =
            (0..n).map(|at| self.waiting[at * self.step..][..self.context + self.step].to_vec()).collect();
        self.waiting.drain(..n * self.step);
        steps
    }

    /// What is left as a last step, with silence behind it; none where nothing is left.
    pub fn finish(mut self) -> Option<Vec<f32>> {
        if self.waiting.len() == self.context {
            return None;
        }
        self.waiting.resize(self.context + self.step, 0.0);
        Some(self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portions_of_any_length_give_the_same_steps() {
        let sound: Vec<f32> = (1..=11).map(|at| at as f32).collect();
        for portion in 1..=11 {
            let mut frames = Frames::new(4, 2);
            let steps: Vec<Vec<f32>> = sound.chunks(portion).flat_map(|part| frames.push(part)).collect();
            assert_eq!(steps, [[0.0, 0.0, 1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]], "{portion}");
            assert_eq!(frames.finish().unwrap(), [7.0, 8.0, 9.0, 10.0, 11.0, 0.0]);
        }
        assert!(Frames::new(4, 2).finish().is_none());
    }
}
