//! Calls of tools out of what a model wrote between their marks.
//!
//! Owns the reading of each style; what cannot be read is no call. Must not know where the text comes from.

use super::formats::CallStyle;
use serde::Serialize;
use serde_json::{Map, Value};

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ToolCall {
    /// What the model calls this call, where it does.
    pub id: Option<String>,
    /// Name of the tool.
    pub name: String,
    /// Its arguments: an object in JSON.
    pub arguments: String,
}

/// Reads what stands between the marks of calls; `None` where it is none. `tools` are definitions as OpenAI's interface has
/// them, which say of what type an argument is.
pub(crate) fn read(text: &str, style: &CallStyle, tools: &[Value]) -> Option<Vec<ToolCall>> {
    let text = text.trim();
    let calls = match style {
        CallStyle::Json { name, arguments, id, .. } => {
            let names = (name.as_str(), arguments.as_str(), id.as_deref());
            json_values(text)?.into_iter().map(|value| of_json(&value, names)).collect::<Option<Vec<_>>>()?
        }
        CallStyle::Named { prefix, between, ignored, .. } => vec![named(text, prefix, between, ignored)?],
        CallStyle::Tags { .. } => tagged(text, style, tools)?,
        CallStyle::Pythonic => super::pythonic::calls(text)?,
        CallStyle::Gemma { quote } => vec![gemma(text, quote)?],
    };
    (!calls.is_empty()).then_some(calls)
}

/// One value or a list of them, or several one after the other.
fn json_values(text: &str) -> Option<Vec<Value>> {
    let mut values = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        match value.ok()? {
            Value::Array(list) => values.extend(list),
            value => values.push(value),
        }
    }
    Some(values)
}

fn of_json(value: &Value, (name, arguments, id): (&str, &str, Option<&str>)) -> Option<ToolCall> {
    let object = value.as_object()?;
    if name.is_empty() {
        let (name, arguments) = object.iter().next()?;
        return Some(ToolCall { id: None, name: name.clone(), arguments: arguments.to_string() });
    }
    // Some models wrap what others write plainly.
    let object = object.get("function").and_then(Value::as_object).unwrap_or(object);
    let found =
        object.get(arguments).or_else(|| object.get("arguments")).or_else(|| object.get("parameters"));
    let arguments = match found {
        None => "{}".to_owned(),
        Some(Value::String(text)) if serde_json::from_str::<Map<String, Value>>(text).is_ok() => text.clone(),
        Some(Value::Object(object)) => Value::Object(object.clone()).to_string(),
        Some(_) => return None,
    };
    let id = object.get(id.unwrap_or("id")).and_then(Value::as_str).map(str::to_owned);
    Some(ToolCall { id, name: object.get(name)?.as_str()?.to_owned(), arguments })
}

fn named(text: &str, prefix: &str, between: &str, ignored: &[String]) -> Option<ToolCall> {
    let text = text.strip_prefix(prefix).unwrap_or(text);
    let (name, arguments) = text.split_once(between)?;
    let (mut name, mut arguments) = (name.to_owned(), arguments.to_owned());
    for text in ignored {
        (name, arguments) = (name.replace(text, ""), arguments.replace(text, ""));
    }
    // `name:3` is the third call of a name.
    let (plain, id) = match name.rsplit_once(':') {
        Some((plain, index)) if index.trim().parse::<u32>().is_ok() => {
            (plain, Some(format!("{prefix}{}", name.trim())))
        }
        _ => (name.as_str(), None),
    };
    let arguments = arguments.trim();
    let arguments = if arguments.is_empty() { "{}" } else { arguments };
    serde_json::from_str::<Map<String, Value>>(arguments).ok()?;
    let name = plain.split_whitespace().next()?.to_owned();
    Some(ToolCall { id, name, arguments: arguments.to_owned() })
}

fn tagged(text: &str, style: &CallStyle, tools: &[Value]) -> Option<Vec<ToolCall>> {
    let CallStyle::Tags { name_begin, name_end, key_begin, key_end, value_begin, value_end, close } = style
    else {
        return None;
    };
    let mut calls = Vec::new();
    let mut rest = text;
    while !rest.trim().is_empty() {
        let begun = rest.trim_start().strip_prefix(name_begin.as_str())?;
        let (name, mut body) = match name_end.is_empty() {
            false => begun.split_once(name_end.as_str())?,
            // The name ends where the first key begins, or at the end of its line.
            true => {
                let end = begun.find(key_begin.as_str()).unwrap_or(begun.len());
                let line = begun.find('\n').unwrap_or(begun.len());
                begun.split_at(end.min(line))
            }
        };
        let name = name.trim().to_owned();
        let mut arguments = Map::new();
        while let Some(begun) = body.trim_start().strip_prefix(key_begin.as_str()) {
            let (key, after) = begun.split_once(key_end.as_str())?;
            let after = match value_begin.is_empty() {
                true => after,
                false => after.trim_start().strip_prefix(value_begin.as_str())?,
            };
            let (value, after) = after.split_once(value_end.as_str())?;
            let key = key.trim().to_owned();
            let value = typed(value, &name, &key, tools);
            arguments.insert(key, value);
            body = after;
        }
        rest = match close.is_empty() {
            true => body,
            false => body.trim_start().strip_prefix(close.as_str())?,
        };
        if name.is_empty()
            || name.contains(char::is_whitespace)
            || (close.is_empty() && !rest.trim().is_empty())
        {
            return None;
        }
        calls.push(ToolCall { id: None, name, arguments: Value::Object(arguments).to_string() });
    }
    Some(calls)
}

/// A value that is written without its type: text where the tool wants text, else JSON where it is.
fn typed(text: &str, tool: &str, key: &str, tools: &[Value]) -> Value {
    let text = text.strip_prefix('\n').unwrap_or(text);
    let text = text.strip_suffix('\n').unwrap_or(text);
    let wanted = tools
        .iter()
        .map(|tool| tool.get("function").unwrap_or(tool))
        .find(|function| function["name"] == tool)
        .map(|function| &function["parameters"]["properties"][key]["type"]);
    let as_text = || Value::String(text.to_owned());
    match wanted {
        Some(Value::String(wanted)) if wanted == "string" => as_text(),
        _ => serde_json::from_str(text.trim()).unwrap_or_else(|_| as_text()),
    }
}

/// `name{key:<|"|>text<|"|>,other:[1,2]}`, where a mark stands for a quotation mark.
fn gemma(text: &str, quote: &str) -> Option<ToolCall> {
    let at = text.find('{')?;
    let (name, object) = text.split_at(at);
    let mut json = String::new();
    for (index, piece) in object.split(quote).enumerate() {
        if index % 2 == 1 {
            json.push_str(&Value::String(piece.to_owned()).to_string());
            continue;
        }
        let mut characters = piece.chars().peekable();
        while let Some(character) = characters.next() {
            json.push(character);
            let begins_key = matches!(character, '{' | ',')
                && characters.peek().is_some_and(|next| next.is_alphabetic() || *next == '_');
            if begins_key {
                let mut word = String::new();
                while let Some(next) = characters.next_if(|next| !matches!(next, ':' | ',' | ']' | '}')) {
                    word.push(next);
                }
                let is_key = characters.peek() == Some(&':');
                json.push_str(&if is_key { Value::String(word).to_string() } else { word });
            }
        }
    }
    let arguments: Map<String, Value> = serde_json::from_str(&json).ok()?;
    let name = name.trim().to_owned();
    (!name.is_empty()).then(|| ToolCall { id: None, name, arguments: Value::Object(arguments).to_string() })
}
