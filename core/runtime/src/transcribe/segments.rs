//! Tokens of a window as segments with times, and where the next window begins. Knows marks of time; no text.
//! Source: `_retrieve_segment` of transformers' `generation_whisper.py`.

/// The window that tokens are of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    /// Its first frame in the sound.
    pub(super) first_frame: usize,
    /// Its frames of sound.
    pub(super) n_frames: usize,
    pub(super) seconds_per_frame: f64,
}

/// Frames from one mark of time to the next.
const FRAMES_PER_MARK: usize = 2;

/// Start and end in seconds, and tokens.
pub(super) type Piece = (f64, f64, Vec<i64>);

/// Segments, and by how many frames the next window begins later.
pub(super) fn cut(tokens: &[i64], first_time: Option<i64>, window: Cut) -> (Vec<Piece>, usize) {
    let mark = |token: &i64| first_time.and_then(|first| usize::try_from(token - first).ok());
    let begin = window.first_frame as f64 * window.seconds_per_frame;
    let seconds = |mark: usize| begin + (mark * FRAMES_PER_MARK) as f64 * window.seconds_per_frame;
    let is_time: Vec<bool> = tokens.iter().map(|token| mark(token).is_some()).collect();
    let ends_alone = is_time.ends_with(&[false, true]);
    // Where two times stand beside each other, a segment ends with the first and the next begins with the second.
    let mut ends: Vec<usize> = (1..tokens.len()).filter(|&at| is_time[at - 1] && is_time[at]).collect();
    if ends.is_empty() {
        let last = tokens.iter().rev().find_map(mark).filter(|mark| *mark > 0);
        let end = last.map_or(begin + window.n_frames as f64 * window.seconds_per_frame, seconds);
        return (vec![(begin, end, tokens.to_vec())], window.n_frames);
    }
    if ends_alone {
        ends.push(tokens.len());
    } else if let Some(last) = ends.last_mut() {
        *last += 1;
    }
    let mut pieces = Vec::new();
    let mut from = 0;
    for (number, to) in ends.iter().enumerate() {
        let own = &tokens[from..*to];
        let back = if number + 1 < ends.len() || ends_alone { 1 } else { 2 };
        let time = |token: Option<&i64>| token.and_then(mark).map_or(begin, seconds);
        let end = own.len().checked_sub(back).and_then(|at| own.get(at));
        pieces.push((time(own.first()), time(end), own.to_vec()));
        from = *to;
    }
    if ends_alone {
        return (pieces, window.n_frames);
    }
    // What comes behind the last pair is unfinished: the next window hears it again.
    let last = from.checked_sub(2).and_then(|at| tokens.get(at)).and_then(mark).unwrap_or(0);
    (pieces, last * FRAMES_PER_MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(tokens: &[i64], expected: &[(f64, f64, usize)], on: usize) {
        let window = Cut { first_frame: 100, n_frames: 60, seconds_per_frame: 0.01 };
        let (pieces, next) = cut(tokens, Some(50), window);
        let told: Vec<(f64, f64, usize)> = pieces
            .iter()
            .map(|(start, end, tokens)| {
                ((start * 100.0).round() / 100.0, (end * 100.0).round() / 100.0, tokens.len())
            })
            .collect();
        assert_eq!((told.as_slice(), next), (expected, on), "{tokens:?}");
    }

    #[test]
    fn pairs_of_times_part_segments() {
        check(&[1, 2, 3], &[(1.0, 1.6, 3)], 60);
        check(&[], &[(1.0, 1.6, 0)], 60);
        check(&[50, 1, 2, 60], &[(1.0, 1.2, 4)], 60);
        // Whole: all of the window is told.
        check(&[50, 1, 55, 55, 2, 60], &[(1.0, 1.1, 3), (1.1, 1.2, 3)], 60);
        // Unfinished: the next window begins with the last pair, whose second time belongs to what came before.
        check(&[50, 1, 55, 55, 2], &[(1.0, 1.1, 4)], 10);
        check(&[50, 1, 55, 55], &[(1.0, 1.1, 4)], 10);
    }
}
