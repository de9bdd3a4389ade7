//! Grammars of calls: what an answer is held to where a tool must be called, in `llguidance`'s variant of Lark.
//!
//! Owns how a format is written as a grammar. Must not know how grammars are kept to.

use super::formats::{CallFormat, CallStyle};
use crate::constrain::plainly;
use crate::{Constraint, Result, Tokenizer};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Whether a call in this format can be described by a grammar here.
pub(super) fn can_write(calls: &CallFormat) -> bool {
    match &calls.style {
        CallStyle::Json { .. } | CallStyle::Named { .. } | CallStyle::Tags { .. } => true,
        CallStyle::Pythonic | CallStyle::Gemma { .. } => false,
    }
}

/// What an answer may be.
pub(super) struct Form<'a> {
    /// Tools that may be called.
    pub(super) tools: &'a [Value],
    pub(super) calls: &'a CallFormat,
    /// The answer begins within reasoning, which ends so.
    pub(super) reasoning_end: Option<&'a str>,
    /// One call may follow another.
    pub(super) several: bool,
    /// What it may be instead of a call.
    pub(super) otherwise: Option<&'a Constraint>,
}

impl Form<'_> {
    pub(super) fn lark(&self, tokenizer: &Tokenizer) -> Result<String> {
        let mut rules = String::new();
        let mut choices = Vec::new();
        if !self.tools.is_empty() {
            let calls = self.calls_rule(tokenizer, &mut rules)?;
            choices.push(calls);
        }
        if let Some(constraint) = self.otherwise {
            choices.push("otherwise".to_owned());
            match constraint {
                Constraint::JsonSchema(schema) => {
                    let _ = writeln!(rules, "otherwise: %json {}", plainly(schema.clone()));
                }
                Constraint::Regex(expression) => {
                    let _ = writeln!(rules, "otherwise: /{}/", expression.replace('/', "\\/"));
                }
                Constraint::Lark(grammar) => {
                    let _ = writeln!(rules, "otherwise: %lark {{\n{grammar}\n}}");
                }
            }
        }
        let before = match self.reasoning_end {
            None => String::new(),
            Some(end) => {
                let marks = terminals(end, tokenizer)?;
                match marks.starts_with("<[") {
                    true => {
                        let _ = writeln!(rules, "reasoning: /(.|\\n)*/ {marks}");
                    }
                    false => {
                        let _ = writeln!(rules, "reasoning[suffix={}]: /(.|\\n)*/", json!(end));
                    }
                }
                "reasoning ".to_owned()
            }
        };
        let choices: Vec<String> = choices.iter().map(|choice| format!("{before}{choice}")).collect();
        Ok(format!("start: {}\n{rules}", choices.join(" | ")))
    }

    /// The name of the rule for one call or several.
    fn calls_rule(&self, tokenizer: &Tokenizer, rules: &mut String) -> Result<String> {
        let format = self.calls;
        let mut around = Vec::new();
        for text in &format.around {
            around.push(terminals(text, tokenizer)?);
        }
        let (begin, end) = (terminals(&format.begin, tokenizer)?, terminals(&format.end, tokenizer)?);
        let mut alternatives = Vec::new();
        match &format.style {
            CallStyle::Json { name, arguments, list, .. } => {
                let objects: Vec<Value> =
                    self.tools.iter().map(|tool| object(tool, name, arguments)).collect();
                let one = json!({ "anyOf": objects });
                let schema = match (list, self.several) {
                    (false, _) => one,
                    (true, true) => json!({ "type": "array", "items": one, "minItems": 1 }),
                    (true, false) => json!({ "type": "array", "items": one, "minItems": 1, "maxItems": 1 }),
                };
                let line = if end.is_empty() || *list { "" } else { "\"\\n\" " };
                let _ = writeln!(rules, "json: %json {}", plainly(schema));
                alternatives.push(format!("{begin} {line}json {line}{end}"));
            }
            CallStyle::Named { written, after, .. } => {
                for (index, tool) in self.tools.iter().enumerate() {
                    let (name, schema) = parts(tool);
                    let written = written.replace("{name}", name).replace("{index}", "0");
                    let (written, after) = (terminals(&written, tokenizer)?, terminals(after, tokenizer)?);
                    let _ = writeln!(rules, "arguments_{index}: %json {}", plainly(schema));
                    alternatives.push(format!("{begin} {written} arguments_{index} {after} {end}"));
                }
            }
            CallStyle::Tags { .. } => {
                for (index, tool) in self.tools.iter().enumerate() {
                    let tags = tags_rule(index, tool, &format.style, tokenizer, rules)?;
                    alternatives.push(format!("{begin} {tags} {end}"));
                }
            }
            CallStyle::Pythonic | CallStyle::Gemma { .. } => {}
        }
        let _ = writeln!(rules, "call: {}", alternatives.join(" | "));
        let is_list = matches!(format.style, CallStyle::Json { list: true, .. });
        let calls = if self.several && !is_list { "call+" } else { "call" };
        let (first, last) = match around.as_slice() {
            [first, last] => (first.as_str(), last.as_str()),
            _ => ("", ""),
        };
        let _ = writeln!(rules, "calls: {first} {calls} {last}");
        Ok("calls".to_owned())
    }
}

/// Name and schema of the arguments of a tool.
fn parts(tool: &Value) -> (&str, Value) {
    let function = tool.get("function").unwrap_or(tool);
    let schema = function.get("parameters").filter(|schema| schema.is_object()).cloned();
    let none = || json!({ "type": "object", "properties": {}, "additionalProperties": false });
    (function["name"].as_str().unwrap_or_default(), schema.unwrap_or_else(none))
}

/// The object of a call in JSON.
fn object(tool: &Value, name_field: &str, arguments_field: &str) -> Value {
    let (name, schema) = parts(tool);
    let (properties, required) = match name_field.is_empty() {
        true => (json!({ name: schema }), json!([name])),
        false => (
            json!({ name_field: { "const": name }, arguments_field: schema }),
            json!([name_field, arguments_field]),
        ),
    };
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn tags_rule(
    index: usize,
    tool: &Value,
    style: &CallStyle,
    tokenizer: &Tokenizer,
    rules: &mut String,
) -> Result<String> {
    let CallStyle::Tags { name_begin, name_end, key_begin, key_end, value_begin, value_end, close } = style
    else {
        return Ok(String::new());
    };
    let (name, schema) = parts(tool);
    let text = |text: &str| terminals(text, tokenizer);
    // Where a value has no mark of its own, everything stands on lines of its own.
    let line = if value_begin.is_empty() { "\n" } else { "" };
    let mut rule = text(&format!("{line}{name_begin}{name}{name_end}\n"))?;
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    for (nth, (key, wanted)) in schema["properties"].as_object().into_iter().flatten().enumerate() {
        let value = format!("value_{index}_{nth}");
        match (wanted["type"].as_str(), wanted.get("enum")) {
            (Some("string"), Some(Value::Array(texts))) => {
                let texts: Vec<String> =
                    texts.iter().filter_map(Value::as_str).map(|text| json!(text).to_string()).collect();
                let _ = writeln!(rules, "{value}: {}", texts.join(" | "));
            }
            (Some("string"), _) => {
                let _ = writeln!(rules, "{value}: /[^<\\n]*/");
            }
            _ => {
                let _ = writeln!(rules, "{value}: %json {}", plainly(wanted.clone()));
            }
        }
        let before = text(&format!(
            "{key_begin}{key}{key_end}{}{value_begin}{line}",
            if line.is_empty() { "\n" } else { "" }
        ))?;
        let after = text(&format!("{line}{value_end}\n"))?;
        let optional = if required.iter().any(|name| name == key) { "" } else { "?" };
        let _ = write!(rule, " ( {before} {value} {after} ){optional}");
    }
    if !close.is_empty() {
        rule.push(' ');
        rule.push_str(&text(&format!("{close}\n"))?);
    }
    Ok(rule)
}

/// A text as terminals: control tokens by their ids, the rest in quotes.
fn terminals(text: &str, tokenizer: &Tokenizer) -> Result<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut plain = Vec::new();
    let flush = |plain: &mut Vec<u8>, parts: &mut Vec<String>| {
        if !plain.is_empty() {
            parts.push(json!(String::from_utf8_lossy(plain)).to_string());
            plain.clear();
        }
    };
    let tokens = tokenizer.encode(text, false)?;
    let has_control = tokens.iter().any(|token| tokenizer.token_bytes(*token).is_empty());
    if !has_control {
        return Ok(if text.is_empty() { String::new() } else { json!(text).to_string() });
    }
    for token in tokens {
        match tokenizer.token_bytes(token) {
            [] => {
                flush(&mut plain, &mut parts);
                parts.push(format!("<[{token}]>"));
            }
            bytes => plain.extend_from_slice(bytes),
        }
    }
    flush(&mut plain, &mut parts);
    Ok(parts.join(" "))
}
