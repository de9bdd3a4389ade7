//! Calls in Python's syntax: `[weather(city="Paris", days=3), now()]`.
//!
//! Owns the small part of Python that models write there: names, texts, numbers, truth values, nothing, lists, maps. Must not
//! run anything.

use super::calls::ToolCall;
use serde_json::{Map, Value};

/// Values within values are read so deep.
const MAX_DEPTH: usize = 32;

/// The calls, or none where it is something else.
pub(super) fn calls(text: &str) -> Option<Vec<ToolCall>> {
    let mut reader = Reader { rest: text.trim() };
    let is_list = reader.takes('[');
    let mut calls = Vec::new();
    loop {
        let name = reader.name()?;
        let mut arguments = Map::new();
        if !reader.takes('(') {
            return None;
        }
        while !reader.takes(')') {
            let key = reader.name()?;
            if !reader.takes('=') {
                return None;
            }
            arguments.insert(key, reader.value(0)?);
            if !reader.takes(',') && !reader.rest.starts_with(')') {
                return None;
            }
        }
        calls.push(ToolCall { id: None, name, arguments: Value::Object(arguments).to_string() });
        if !(reader.takes(',') || reader.takes(';')) {
            break;
        }
    }
    if is_list && !reader.takes(']') {
        return None;
    }
    reader.rest.is_empty().then_some(calls)
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn takes(&mut self, character: char) -> bool {
        match self.rest.strip_prefix(character) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    fn name(&mut self) -> Option<String> {
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.' | '-')));
        let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        if name.is_empty() {
            return None;
        }
        self.rest = rest.trim_start();
        Some(name.to_owned())
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        if self.takes('[') {
            let mut list = Vec::new();
            while !self.takes(']') {
                list.push(self.value(depth + 1)?);
                if !self.takes(',') && !self.rest.starts_with(']') {
                    return None;
                }
            }
            return Some(Value::Array(list));
        }
        if self.takes('{') {
            let mut map = Map::new();
            while !self.takes('}') {
                let key = self.value(depth + 1)?;
                if !self.takes(':') {
                    return None;
                }
                let value = self.value(depth + 1)?;
                map.insert(key.as_str().map_or_else(|| key.to_string(), str::to_owned), value);
                if !self.takes(',') && !self.rest.starts_with('}') {
                    return None;
                }
            }
            return Some(Value::Object(map));
        }
        match self.rest.chars().next()? {
            quote @ ('"' | '\'') => self.text(quote),
            _ => self.word(),
        }
    }

    fn text(&mut self, quote: char) -> Option<Value> {
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => text.push(match characters.next()?.1 {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    other => other,
                }),
                _ if character == quote => {
                    self.rest = self.rest[at + 1..].trim_start();
                    return Some(Value::String(text));
                }
                _ => text.push(character),
            }
        }
        None
    }

    fn word(&mut self) -> Option<Value> {
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '+')));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest.trim_start();
        match word {
            "True" | "true" => Some(Value::Bool(true)),
            "False" | "false" => Some(Value::Bool(false)),
            "None" | "null" => Some(Value::Null),
            number => serde_json::from_str(number).ok().filter(Value::is_number),
        }
    }
}
