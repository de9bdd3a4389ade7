//! Stop texts across token borders: text that may still become one is held back.

/// Watches a stream of text for stop texts.
pub(crate) struct StopTexts {
    stops: Vec<String>,
    pending: String,
}

impl StopTexts {
    pub(crate) fn new(stops: &[String]) -> Self {
        Self {
            stops: stops.iter().filter(|stop| !stop.is_empty()).cloned().collect(),
            pending: String::new(),
        }
    }

    /// Takes new text; gives what is sure to be no part of a stop text, and the stop text that appeared.
    pub(crate) fn push(&mut self, text: &str) -> (String, Option<String>) {
        self.pending.push_str(text);
        let found =
            self.stops.iter().filter_map(|stop| Some((self.pending.find(stop.as_str())?, stop))).min();
        if let Some((at, stop)) = found {
            let stop = stop.clone();
            self.pending.truncate(at);
            return (std::mem::take(&mut self.pending), Some(stop));
        }
        let hold = self.stops.iter().map(|stop| overlap(&self.pending, stop)).max().unwrap_or(0);
        let rest = self.pending.split_off(self.pending.len() - hold);
        (std::mem::replace(&mut self.pending, rest), None)
    }

    /// What was held back, when nothing more comes.
    pub(crate) fn take(&mut self) -> String {
        std::mem::take(&mut self.pending)
    }
}

/// Bytes of the longest end of `text` that begins `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    let borders = stop.char_indices().map(|(at, _)| at).skip(1);
    borders.filter(|&at| text.ends_with(&stop[..at])).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pieces: &[&str], stops: &[&str], expected: &str, stop: Option<&str>) {
        let stops: Vec<String> = stops.iter().map(|stop| stop.to_string()).collect();
        let mut watch = StopTexts::new(&stops);
        let mut out = String::new();
        for piece in pieces {
            let (sure, stopped) = watch.push(piece);
            out.push_str(&sure);
            if stopped.is_some() {
                assert_eq!((out.as_str(), stopped.as_deref()), (expected, stop));
                return;
            }
        }
        out.push_str(&watch.take());
        assert_eq!((out.as_str(), None), (expected, stop));
    }

    #[test]
    fn stops_are_found_across_borders_and_near_misses_released() {
        check(&["Hello <", "|end", "|> more"], &["<|end|>"], "Hello ", Some("<|end|>"));
        check(&["a <", "|enough"], &["<|end|>"], "a <|enough", None);
        check(&["aab"], &["ab", "aab"], "", Some("aab"));
        check(&["naïve é", "é!"], &["éé!"], "naïve ", Some("éé!"));
        check(&["x"], &[""], "x", None);
    }

    proptest::proptest! {
        #[test]
        fn any_cut_of_the_stream_gives_the_same_answer(text in "[ab]{0,30}", stop in "[ab]{1,4}", cuts in proptest::collection::vec(0usize..30, 0..6)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort();
            let mut watch = StopTexts::new(std::slice::from_ref(&stop));
            let (mut out, mut found) = (String::new(), false);
            for pair in cuts.windows(2) {
                let (sure, stopped) = watch.push(&text[pair[0]..pair[1]]);
                out.push_str(&sure);
                if stopped.is_some() { found = true; break; }
            }
            if !found { out.push_str(&watch.take()); }
            let expected = text.split(stop.as_str()).next().unwrap();
            proptest::prop_assert_eq!(out, expected);
        }
    }
}
