//! How models mark reasoning and calls of tools in what they write, as data: `data/chat_formats.json`.
//!
//! Owns the table and which row a template means. Must not know how text is read or written by it.

use serde::Deserialize;
use std::sync::OnceLock;

/// What lies between two marks is reasoning.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReasoningFormat {
    pub(crate) name: String,
    /// Texts that a template of this format has, all of them.
    marks: Vec<String>,
    pub(crate) begin: String,
    pub(crate) end: String,
}

/// How calls of tools are written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallFormat {
    pub(crate) name: String,
    marks: Vec<String>,
    /// Before a call; empty where the whole answer is one.
    pub(crate) begin: String,
    /// After it; empty where the answer's end is.
    pub(crate) end: String,
    /// Around all calls.
    #[serde(default)]
    pub(crate) around: Vec<String>,
    /// What may stand before a call without a beginning.
    #[serde(default)]
    pub(crate) optional: Vec<String>,
    pub(crate) style: CallStyle,
}

/// What stands between the marks of a call.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum CallStyle {
    /// An object of JSON with fields of these names; empty ones: the name is the key of the arguments.
    Json {
        name: String,
        arguments: String,
        #[serde(default)]
        id: Option<String>,
        /// A list of such objects.
        list: bool,
    },
    /// A name, a mark, and the arguments in JSON.
    Named {
        prefix: String,
        between: String,
        /// Texts around name and arguments that say nothing.
        ignored: Vec<String>,
        /// How it is written before the arguments.
        written: String,
        /// And after them.
        #[serde(default)]
        after: String,
    },
    /// Name, keys and values between tags; texts as they are, other values in JSON.
    Tags {
        name_begin: String,
        name_end: String,
        key_begin: String,
        key_end: String,
        value_begin: String,
        value_end: String,
        close: String,
    },
    /// A list of calls in Python's syntax with named arguments.
    Pythonic,
    /// A name and an object without quotes around keys.
    Gemma { quote: String },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dropped {
    marks: Vec<String>,
    texts: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    reasoning: Vec<ReasoningFormat>,
    dropped: Vec<Dropped>,
    calls: Vec<CallFormat>,
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let text = include_str!("../../data/chat_formats.json");
        serde_json::from_str(text).expect("the table is read by a test")
    })
}

fn has_all(template: &str, marks: &[String]) -> bool {
    marks.iter().all(|mark| template.contains(mark.as_str()))
}

/// How a model with this template writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChatFormat {
    pub(crate) reasoning: Option<&'static ReasoningFormat>,
    /// Texts that are neither reasoning nor content.
    pub(crate) dropped: Vec<&'static str>,
    pub(crate) calls: &'static CallFormat,
}

impl ChatFormat {
    /// The formats that the template's own texts show.
    pub(crate) fn of(template: &str) -> Self {
        let table = table();
        // Escapes of jinja's strings are not resolved: marks have none but the end of line.
        let template = &template.replace("\\n", "\n");
        let dropped = table.dropped.iter().filter(|dropped| has_all(template, &dropped.marks));
        Self {
            reasoning: table.reasoning.iter().find(|format| has_all(template, &format.marks)),
            dropped: dropped.flat_map(|dropped| dropped.texts.iter().map(String::as_str)).collect(),
            calls: table
                .calls
                .iter()
                .find(|format| has_all(template, &format.marks))
                .expect("the last row has no marks"),
        }
    }

    /// Every text by which it is read.
    pub(crate) fn texts(&self) -> Vec<&'static str> {
        let mut texts = self.dropped.clone();
        texts.extend(self.reasoning.into_iter().flat_map(|format| [format.begin.as_str(), &format.end]));
        let calls = self.calls;
        texts.extend([calls.begin.as_str(), &calls.end]);
        texts.extend(calls.around.iter().chain(&calls.optional).map(String::as_str));
        match &calls.style {
            CallStyle::Json { .. } | CallStyle::Pythonic => {}
            CallStyle::Named { prefix, between, ignored, written, after } => {
                texts.extend([prefix.as_str(), between, written, after]);
                texts.extend(ignored.iter().map(String::as_str));
            }
            CallStyle::Tags { name_begin, name_end, key_begin, key_end, value_begin, value_end, close } => {
                texts.extend(
                    [name_begin, name_end, key_begin, key_end, value_begin, value_end, close]
                        .map(String::as_str),
                );
            }
            CallStyle::Gemma { quote } => texts.push(quote),
        }
        texts.retain(|text| !text.is_empty());
        texts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_show_their_formats() {
        for (template, reasoning, calls) in [
            ("{{ '<|im_start|>' }}", None, "plain"),
            ("<tool_call>\\n{\"name\"", None, "hermes"),
            ("<think> <tool_call> <function=", Some("think"), "qwen-coder"),
            ("<function= <|python_tag|>", None, "functionary"),
            ("[TOOL_CALLS] [ARGS] [THINK]", Some("mistral"), "mistral-named"),
            ("[TOOL_CALLS]", None, "mistral"),
            ("<｜tool▁call▁begin｜> ```json </think>", Some("think"), "deepseek-r1"),
            ("<|start_header_id|> \"parameters\"", None, "llama"),
            ("<|channel|>analysis<|message|>", Some("harmony"), "harmony"),
        ] {
            let format = ChatFormat::of(template);
            assert_eq!(format.reasoning.map(|format| format.name.as_str()), reasoning, "{template}");
            assert_eq!(format.calls.name, calls, "{template}");
        }
        assert!(ChatFormat::of("").texts().contains(&"<tool_call>"));
    }
}
