//! The character map of a SentencePiece normalizer (`tokenizer.ggml.precompiled_charsmap`), checked before it is used:
//! looking up in it trusts every offset. Owns the check; must not normalize.
//!
//! Layout: the length of the trie in bytes (u32), the trie (darts-clone units of 32 bits), replacements that end in NUL.

use std::ops::ControlFlow;

/// Bytes of a unit and of the length in front.
const WORD: usize = 4;

/// Says what is wrong with `map`: a trie or a replacement that a text could lead out of.
pub(super) fn check(map: &[u8]) -> Result<(), String> {
    let (head, rest) = map.split_first_chunk::<WORD>().ok_or("expected at least 4 bytes")?;
    let trie_bytes = u32::from_le_bytes(*head) as usize;
    if trie_bytes == 0 || !trie_bytes.is_multiple_of(WORD) || trie_bytes > rest.len() {
        return Err(format!("trie: expected 4 to {} bytes in fours, got {trie_bytes}", rest.len()));
    }
    let (trie, texts) = rest.split_at(trie_bytes);
    let texts = std::str::from_utf8(texts).map_err(|error| format!("replacements: {error}"))?;
    let word = |bytes: &[u8]| Unit(bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte)));
    let trie = Trie { units: trie.chunks_exact(WORD).map(word).collect() };
    let outside = |at: usize| format!("trie: expected places below {}, got {at}", trie.units.len());
    let mut fault = None;
    trie.each_value(|at| {
        fault = match trie.units.get(at).map(|unit| unit.value()) {
            None => Some(outside(at)),
            Some(value) if !texts.is_char_boundary(value) => Some(format!(
                "replacement: expected the start of a character below {}, got {value}",
                texts.len()
            )),
            Some(_) => return ControlFlow::Continue(()),
        };
        ControlFlow::Break(())
    })
    .map_err(outside)?;
    fault.map_or(Ok(()), Err)
}

/// One entry of the trie.
#[derive(Clone, Copy)]
struct Unit(u32);

impl Unit {
    fn has_value(self) -> bool {
        self.0 >> 8 & 1 == 1
    }

    fn value(self) -> usize {
        (self.0 & 0x7fff_ffff) as usize
    }

    /// The byte that leads here; above 255 where nothing does.
    fn label(self) -> u32 {
        self.0 & 0x8000_00ff
    }

    fn offset(self) -> usize {
        ((self.0 >> 10) as usize) << (self.0 >> 6 & 8)
    }
}

struct Trie {
    units: Vec<Unit>,
}

impl Trie {
    /// Visits the place of the value of every text that the trie knows; the error is a place outside of it.
    fn each_value(&self, mut visit: impl FnMut(usize) -> ControlFlow<()>) -> Result<(), usize> {
        let mut seen = vec![false; self.units.len()];
        let mut open = vec![self.units.first().map_or(0, |unit| unit.offset())];
        while let Some(base) = open.pop() {
            // Any byte may follow.
            if base | 0xff >= self.units.len() {
                return Err(base | 0xff);
            }
            if std::mem::replace(&mut seen[base], true) {
                continue;
            }
            for byte in 1..=0xff_u32 {
                let at = base ^ byte as usize;
                let unit = self.units[at];
                if unit.label() != byte {
                    continue;
                }
                let next = at ^ unit.offset();
                if unit.has_value() && visit(next).is_break() {
                    return Ok(());
                }
                open.push(next);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokenizers::normalizers::Precompiled;

    /// A map of 512 units with `units` in it, then `texts`.
    fn map(units: &[(usize, u32)], texts: &str) -> Vec<u8> {
        let mut trie = [0u32; 512];
        units.iter().for_each(|(at, unit)| trie[*at] = *unit);
        let words = [2048].into_iter().chain(trie);
        words.flat_map(u32::to_le_bytes).chain(texts.bytes()).collect()
    }

    /// The root leads to 256.
    const ROOT: (usize, u32) = (0, 256 << 10);
    /// From there, `a` leads to 256, whose value is the replacement's place.
    const A: (usize, u32) = (256 ^ 0x61, 0x61 << 10 | 1 << 8 | 0x61);

    #[test]
    fn a_sound_map_is_accepted_and_used() {
        let map = map(&[ROOT, A, (256, 0)], "xy\0");
        check(&map).unwrap();
        assert_eq!(Precompiled::from(&map).unwrap().normalize_string("ab"), "xyb");
    }

    #[test]
    fn what_leads_outside_is_refused() {
        let message = |map: &[u8]| check(map).unwrap_err();
        assert!(message(&[1, 2]).contains("at least 4 bytes"));
        assert!(message(&[0xff; 4]).contains("got 4294967295"));
        assert!(message(&map(&[(0, 512 << 10)], "")).contains("places below 512, got 767"));
        assert!(message(&map(&[ROOT, (256 ^ 0x61, 0x3ff << 10 | 0x61)], "")).contains("places below 512"));
        assert!(message(&map(&[ROOT, A, (256, 9)], "xy\0")).contains("below 3, got 9"));
        assert!(message(&map(&[ROOT, A, (256, 1)], "é\0")).contains("start of a character"));
        let mut broken = map(&[ROOT], "");
        broken.push(0xff);
        assert!(message(&broken).contains("replacements: invalid utf-8"));
    }

    proptest! {
        #[test]
        fn accepted_maps_never_panic(
            units in prop::collection::vec((0usize..512, prop_oneof![
                any::<u32>(),
                (0u32..512, any::<u8>(), 0u32..2).prop_map(|(to, label, leaf)| to << 10 | leaf << 8 | u32::from(label)),
            ]), 0..200),
            root in 0u32..2, texts in "[é\0a]{0,8}", text in "[aé羊\u{1}-\u{7f}]{0,20}",
        ) {
            let mut units = units;
            units.push((0, root << 18));
            let map = map(&units, &texts);
            if check(&map).is_ok() {
                let _ = Precompiled::from(&map).unwrap().normalize_string(&text);
            }
        }
    }
}
