//! Merges of a vocabulary that has scores alone. Must not judge the vocabulary.

use super::TokenType;
use ahash::AHashMap;

/// Merges in the order that scores imply: every split of a token into two others, best score first, as transformers
/// converts SentencePiece models.
pub fn merges_from_scores(tokens: &[String], scores: &[f32], types: &[i32]) -> Vec<(String, String)> {
    let ids: AHashMap<&str, u32> =
        tokens.iter().enumerate().map(|(id, text)| (text.as_str(), id as u32)).collect();
    let mut merges: Vec<(f32, u32, u32)> = Vec::new();
    for ((id, token), score) in tokens.iter().enumerate().zip(scores) {
        let kind = TokenType::from_number(types.get(id).copied().unwrap_or_default());
        if matches!(kind, TokenType::Control | TokenType::Byte | TokenType::Unknown) {
            continue;
        }
        for (at, _) in token.char_indices().skip(1) {
            // Most splits fail at one side: the other is not looked up.
            let Some(&right) = ids.get(&token[at..]) else { continue };
            if let Some(&left) = ids.get(&token[..at]) {
                merges.push((*score, left, right));
            }
        }
    }
    merges.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let text = |id: u32| tokens[id as usize].clone();
    merges.into_iter().map(|(_, left, right)| (text(left), text(right))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_split_into_tokens_is_a_merge_and_the_best_score_comes_first() {
        let tokens = ["a", "b", "c", "ab", "bc", "abc", "<s>", "<", "s>"].map(String::from);
        let scores = [0.0, 0.0, 0.0, -2.0, -1.0, -3.0, 0.0, 0.0, 0.0];
        let types = [1, 1, 1, 1, 1, 1, 3, 1, 1];
        let pair = |left: &str, right: &str| (left.to_string(), right.to_string());
        let expected = [pair("b", "c"), pair("a", "b"), pair("a", "bc"), pair("ab", "c")];
        assert_eq!(merges_from_scores(&tokens, &scores, &types), expected);
    }
}
