//! What a sentence-transformers folder says of pooling: modules.json names a module, whose own folder says the kind.
//! Knows these two files; must not know models.

use super::SourceJson;
use crate::{Error, Result};
use families::Pooling;
use serde_json::Value as Json;
use std::path::{Component, Path};

/// Fields of the module's config.json that are true for one kind, in the order in which they count.
const FLAGS: [(&str, Pooling); 3] = [
    ("pooling_mode_mean_tokens", Pooling::Mean),
    ("pooling_mode_cls_token", Pooling::Cls),
    ("pooling_mode_lasttoken", Pooling::Last),
];
/// Words of its `pooling_mode`.
const WORDS: [(&str, Pooling); 3] =
    [("mean", Pooling::Mean), ("cls", Pooling::Cls), ("lasttoken", Pooling::Last)];

/// The pooling that the files beside a checkpoint state.
///
/// # Errors
/// A broken file, a module elsewhere, a kind that no engine has.
pub(super) fn stated(directory: &Path) -> Result<Option<Pooling>> {
    let list = directory.join("modules.json");
    let Some(modules) = SourceJson::optional(&list)? else { return Ok(None) };
    let is_pooling = |module: &&Json| module["type"].as_str().is_some_and(|kind| kind.ends_with("Pooling"));
    let Some(module) = modules.as_array().into_iter().flatten().find(is_pooling) else { return Ok(None) };
    let folder = module["path"].as_str().map(Path::new);
    let inside = |path: &&Path| path.components().all(|part| matches!(part, Component::Normal(_)));
    let folder = folder.filter(inside).ok_or_else(|| {
        Error::checkpoint(
            &list,
            format!("path: expected a folder of this checkpoint, got {}", module["path"]),
        )
    })?;
    let path = directory.join(folder).join("config.json");
    let stated = SourceJson::required(&path)?;
    let flagged = FLAGS.iter().find(|(flag, _)| stated[*flag] == true);
    let worded = || WORDS.iter().find(|(word, _)| stated["pooling_mode"] == *word);
    let found = flagged.or_else(worded).map(|(_, pooling)| *pooling);
    found.map(Some).ok_or_else(|| {
        Error::checkpoint(&path, "pooling: expected the mean, the first or the last token, got another")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn folder(modules: Json, config: Json) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("1_Pooling")).unwrap();
        std::fs::write(folder.path().join("modules.json"), modules.to_string()).unwrap();
        std::fs::write(folder.path().join("1_Pooling/config.json"), config.to_string()).unwrap();
        folder
    }

    fn module(path: &str) -> Json {
        let transformer = json!({"type": "sentence_transformers.models.Transformer", "path": ""});
        json!([transformer, {"type": "sentence_transformers.models.Pooling", "path": path}])
    }

    #[test]
    fn flags_and_words_name_a_kind() {
        for (config, expected) in [
            (json!({"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true}), Some(Pooling::Mean)),
            (json!({"pooling_mode_cls_token": true}), Some(Pooling::Cls)),
            (json!({"pooling_mode_lasttoken": true}), Some(Pooling::Last)),
            (json!({"pooling_mode": "lasttoken"}), Some(Pooling::Last)),
            (json!({"pooling_mode_max_tokens": true}), None),
        ] {
            let folder = folder(module("1_Pooling"), config.clone());
            assert_eq!(stated(folder.path()).ok().flatten(), expected, "{config}");
        }
        assert_eq!(stated(folder(json!([]), json!({})).path()).unwrap(), None);
        assert_eq!(stated(tempfile::tempdir().unwrap().path()).unwrap(), None);
    }

    #[test]
    fn modules_elsewhere_are_refused() {
        for path in ["../1_Pooling", "/etc"] {
            let error = stated(folder(module(path), json!({})).path()).unwrap_err().to_string();
            assert!(error.contains("a folder of this checkpoint"), "{error}");
        }
    }
}
