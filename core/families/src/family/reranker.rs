//! Decoders that are rerankers: what tells them from others, and the rows of their output that score.
//! Owns a family's table of them; must not know tokenizers or files.

use crate::tensors::mapping::OUTPUT;
use crate::{Output, Role, Source, View};
use serde::Deserialize;
use serde_json::Value;

/// A family's rerankers: they answer a question with one of two words.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reranker {
    /// What their names have, in lower case.
    named: String,
    /// The words, that for a document that answers the query first; tokens of these texts.
    pub words: Vec<String>,
    /// The question, with `{query}` and `{document}` in it.
    pub template: String,
}

impl Reranker {
    /// Whether a checkpoint is one: by the name of its folder, a heading of its model card, what its configuration calls
    /// it, or a class that classifies sequences.
    pub fn is(&self, folder: &str, card: &str, config: &Value) -> bool {
        let has_name = |text: &str| text.to_lowercase().contains(&self.named);
        let stated = |field: &str| config[field].as_str().unwrap_or_default();
        let class = config["architectures"][0].as_str().unwrap_or_default();
        let heading = format!("# {}", self.named);
        [folder, stated("_name_or_path"), stated("model_type"), class].into_iter().any(has_name)
            || card.to_lowercase().contains(&heading)
            || class.to_lowercase().contains("sequenceclassification")
    }

    /// Puts the rows `ids` of the output, or of the embedding that is the output, into the place of the output: the scores'
    /// matrix, in front of the embedding where that is both.
    pub fn score(&self, outputs: &mut Vec<Output>, ids: &[u32]) {
        let place = |name: &str| outputs.iter().position(|output| output.name == name);
        let own = place(OUTPUT);
        let Some(at) = own.or_else(|| place("token_embd.weight")) else { return };
        let mut scores = outputs[at].clone();
        let width = scores.dims[0];
        (scores.name, scores.role) = ("cls.output.weight".into(), Role::Output);
        scores.dims[1] = ids.len() as u64;
        if let Source::Stored(pieces) = &mut scores.source
            && let Some(whole) = pieces.first().cloned()
        {
            let mut row = |id: &u32| {
                let mut piece = whole.clone();
                piece.view = View::new(u64::from(*id) * width, [(width, 1)]);
                piece
            };
            *pieces = ids.iter().map(&mut row).collect();
        }
        match own {
            Some(at) => outputs[at] = scores,
            None => outputs.insert(at, scores),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Family;
    use serde_json::json;

    #[test]
    fn names_cards_and_classes_tell_rerankers() {
        let family = Family::for_architecture("qwen3").expect("a family");
        let reranker = family.reranker().expect("Qwen3 has some");
        let plain = json!({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"});
        assert!(reranker.is("Qwen3-Reranker-0.6B", "", &plain));
        assert!(reranker.is("model", "intro\n# Qwen3-Reranker-4B\n", &plain));
        assert!(reranker.is("model", "", &json!({"architectures": ["Qwen3ForSequenceClassification"]})));
        assert!(!reranker.is("Qwen3-0.6B", "see Qwen3-Reranker", &plain));
    }
}
