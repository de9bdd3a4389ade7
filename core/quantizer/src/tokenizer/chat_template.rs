//! Chat templates of a checkpoint, kept verbatim. Knows where they may be; must not interpret them.

use crate::source::SourceJson;
use crate::{Error, Result};
use formats::gguf::{Array, Metadata, Value};
use serde_json::Value as Json;
use std::path::{Path, PathBuf};

/// Templates by name: tokenizer_config.json's own, else those of the files beside it.
///
/// # Errors
/// A file that is there and cannot be read.
pub(super) fn read(settings: &Json, directory: &Path) -> Result<Vec<(String, String)>> {
    match settings.get("chat_template") {
        Some(own) => Ok(named(own)),
        None => beside(directory),
    }
}

/// One template is called `default`; a list names each.
fn named(templates: &Json) -> Vec<(String, String)> {
    match templates {
        Json::String(text) => vec![("default".into(), text.clone())],
        Json::Array(entries) => {
            let entry = |entry: &Json| {
                Some((key_name(entry["name"].as_str()?), entry["template"].as_str()?.to_string()))
            };
            entries.iter().filter_map(entry).filter(|(name, _)| !name.is_empty()).collect()
        }
        _ => Vec::new(),
    }
}

/// Names become part of a key: letters and digits alone.
fn key_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn beside(directory: &Path) -> Result<Vec<(String, String)>> {
    let text = |path: &Path| std::fs::read_to_string(path).map_err(|source| Error::io(path, source));
    let file = directory.join("chat_template.jinja");
    if !file.is_file() {
        let json = SourceJson::optional(&directory.join("chat_template.json"))?;
        return Ok(json.map(|json| named(&json["chat_template"])).unwrap_or_default());
    }
    let mut templates = vec![("default".to_string(), text(&file)?)];
    let more = std::fs::read_dir(directory.join("additional_chat_templates"));
    let mut more: Vec<PathBuf> =
        more.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    more.sort();
    for path in more.iter().filter(|path| path.extension().is_some_and(|extension| extension == "jinja")) {
        let name = path.file_stem().map(|stem| key_name(&stem.to_string_lossy())).unwrap_or_default();
        templates.push((name, text(path)?));
    }
    Ok(templates)
}

/// Writes the named templates, their names, and the default one.
pub(super) fn write(templates: Vec<(String, String)>, metadata: &mut Metadata) {
    let named = templates.iter().filter(|(name, _)| name != "default");
    let names: Vec<String> = named.map(|(name, _)| name.clone()).collect();
    let mut default = None;
    for (name, template) in templates {
        if name == "default" {
            default = Some(template);
        } else {
            metadata.insert(format!("tokenizer.chat_template.{name}"), Value::String(template));
        }
    }
    if !names.is_empty() {
        metadata.insert("tokenizer.chat_templates", Value::Array(Array::String(names)));
    }
    if let Some(template) = default {
        metadata.insert("tokenizer.chat_template", Value::String(template));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(settings: Json, files: &[(&str, &str)], expected: &[(&str, &str)]) {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let mut metadata = Metadata::new();
        write(read(&settings, directory.path()).unwrap(), &mut metadata);
        let found: Vec<(&str, &str)> =
            metadata.iter().filter_map(|(key, _)| Some((key, metadata.str(key)?))).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn templates_are_kept_verbatim_wherever_they_are() {
        let text = "{{ x }}\n \u{1F999}";
        let default = ("tokenizer.chat_template", text);
        check(json!({"chat_template": text}), &[("chat_template.jinja", "other")], &[default]);
        check(json!({}), &[("chat_template.jinja", text)], &[default]);
        check(json!({}), &[("chat_template.json", &json!({"chat_template": text}).to_string())], &[default]);
        check(json!({"chat_template": null}), &[("chat_template.jinja", text)], &[]);
        check(json!({"chat_template": 7}), &[], &[]);
    }

    #[test]
    fn named_templates_have_keys_of_their_own() {
        let tools = ("tokenizer.chat_template.tool_use", "t");
        let default = ("tokenizer.chat_template", "d");
        let list = json!([{"name": "default", "template": "d"}, {"name": "tool use", "template": "t"}, {"name": ""}]);
        check(json!({"chat_template": list}), &[], &[tools, default]);
        let files = [("chat_template.jinja", "d"), ("additional_chat_templates/tool use.jinja", "t")];
        check(json!({}), &files, &[tools, default]);
    }
}
