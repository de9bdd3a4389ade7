//! Recorded shapes of answers in every format, cut at every place: the parts are the same.

use super::*;
use crate::chat::formats::ChatFormat;
use serde_json::json;

fn tools() -> Vec<Value> {
    let parameters = json!({ "type": "object", "properties": {
        "city": { "type": "string" }, "days": { "type": "integer" }, "exact": { "type": "boolean" },
    } });
    vec![json!({ "type": "function", "function": { "name": "get_weather", "parameters": parameters } })]
}

/// Reasoning, content and calls of an answer, the same however it is cut.
#[track_caller]
fn check(template: &str, answer: &str, reasoning: &str, content: &str, calls: &[(&str, Value)]) {
    let format = ChatFormat::of(template);
    let borders: Vec<usize> = answer.char_indices().map(|(at, _)| at).chain([answer.len()]).collect();
    for step in [1, 2, 3, 7, answer.len().max(1)] {
        let mut reader = ChatReader::new(&format, false, &tools());
        let mut pieces = Vec::new();
        let mut at = 0;
        while at + 1 < borders.len() {
            let next = (at + step).min(borders.len() - 1);
            pieces.extend(reader.push(&answer[borders[at]..borders[next]]));
            at = next;
        }
        pieces.extend(reader.finish());
        let (mut thought, mut said, mut called) = (String::new(), String::new(), Vec::new());
        for piece in pieces {
            match piece {
                ChatPiece::Reasoning(text) => thought.push_str(&text),
                ChatPiece::Content(text) => said.push_str(&text),
                ChatPiece::Call(call) => called.push(call),
            }
        }
        assert_eq!((thought.as_str(), said.as_str()), (reasoning, content), "{answer} by {step}");
        let called: Vec<(&str, Value)> = called
            .iter()
            .map(|call| (call.name.as_str(), serde_json::from_str(&call.arguments).expect("JSON")))
            .collect();
        assert_eq!(called, calls, "{answer} by {step}");
    }
}

fn paris() -> (&'static str, Value) {
    ("get_weather", json!({ "city": "Paris", "days": 3 }))
}

#[test]
fn hermes() {
    let template = "<think> <tool_call>";
    let call = "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\", \"days\": 3}}\n</tool_call>";
    check(template, call, "", "", &[paris()]);
    let answer = format!("<think>\nParis, then.\n</think>\n\nI look.\n{call}\n{call}");
    check(template, &answer, "Paris, then.", "I look.", &[paris(), paris()]);
    check(template, "a <b> c <tool", "", "a <b> c <tool", &[]);
    check(
        template,
        "<tool_call>\n{\"name\": 3}\n</tool_call>",
        "",
        "<tool_call>\n{\"name\": 3}\n</tool_call>",
        &[],
    );
    check(template, "one </think> two <think>", "", "one </think> two <think>", &[]);
}

#[test]
fn llama_writes_the_object_alone() {
    let template = "<|start_header_id|> \"parameters\" <|python_tag|>";
    let call = "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Paris\", \"days\": 3}}";
    check(template, call, "", "", &[paris()]);
    check(template, &format!("<|python_tag|>{call}"), "", "", &[paris()]);
    check(template, "{\"no\": \"call\"}", "", "{\"no\": \"call\"}", &[]);
    check(template, "It is {warm}.", "", "It is {warm}.", &[]);
}

#[test]
fn mistral() {
    let call =
        "[{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\", \"days\": 3}, \"id\": \"abc\"}]";
    check("[TOOL_CALLS]", &format!("[TOOL_CALLS]{call}"), "", "", &[paris()]);
    let named = "[TOOL_CALLS]get_weather[ARGS]{\"city\": \"Paris\", \"days\": 3}";
    check("[TOOL_CALLS] [ARGS]", &format!("Now: {named}{named}"), "", "Now:", &[paris(), paris()]);
    check("[TOOL_CALLS] [ARGS] [THINK]", &format!("[THINK]Well.[/THINK]{named}"), "Well.", "", &[paris()]);
}

#[test]
fn deepseek() {
    let r1 = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{\"city\": \"Paris\", \"days\": 3}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>";
    let template = "<｜tool▁call▁begin｜> ```json </think>";
    check(template, &format!("<think>So.</think>{r1}"), "So.", "", &[paris()]);
    let v3 = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{\"city\": \"Paris\", \"days\": 3}<｜tool▁call▁end｜><｜tool▁calls▁end｜>";
    check("<｜tool▁call▁begin｜>", v3, "", "", &[paris()]);
}

#[test]
fn kimi() {
    let call = "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{\"city\": \"Paris\", \"days\": 3}<|tool_call_end|><|tool_calls_section_end|>";
    check("<|tool_call_begin|>", &format!("I look.{call}"), "", "I look.", &[paris()]);
}

#[test]
fn harmony() {
    let template = "<|channel|>analysis<|message|>";
    let thought = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant";
    let call = "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{\"city\": \"Paris\", \"days\": 3}<|call|>";
    check(template, &format!("{thought}{call}"), "Hm.", "", &[paris()]);
    // The token at the end of a call is not part of the text: it ends the turn.
    check(template, &format!("{thought}{}", call.trim_end_matches("<|call|>")), "Hm.", "", &[paris()]);
    check(template, &format!("{thought}<|channel|>final<|message|>Sunny."), "Hm.", "Sunny.", &[]);
}

#[test]
fn tags() {
    let glm = "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>";
    check("<arg_key>", glm, "", "", &[paris()]);
    let qwen = "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>";
    check("<tool_call> <function=", &format!("Yes.\n{qwen}"), "", "Yes.", &[paris()]);
    let seed = "<seed:tool_call>\n<function=get_weather>\n<parameter=city>Paris</parameter>\n<parameter=days>3</parameter>\n</function>\n</seed:tool_call>";
    check("<seed:tool_call> <seed:think>", &format!("<seed:think>a</seed:think>{seed}"), "a", "", &[paris()]);
    let minimax = "<minimax:tool_call>\n<invoke name=\"get_weather\">\n<parameter name=\"city\">Paris</parameter>\n<parameter name=\"days\">3</parameter>\n</invoke>\n</minimax:tool_call>";
    check("<invoke name=", minimax, "", "", &[paris()]);
    // Text stays text where the tool wants text, whatever it looks like.
    let zip = qwen.replace("Paris", "75001");
    check("<tool_call> <function=", &zip, "", "", &[("get_weather", json!({ "city": "75001", "days": 3 }))]);
}

#[test]
fn lists_of_objects() {
    let list = "[{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\", \"days\": 3}}]";
    check("<|tool_call|>", &format!("<|tool_call|>{list}"), "", "", &[paris()]);
    check("<TOOLCALL>", &format!("<TOOLCALL>{list}</TOOLCALL>"), "", "", &[paris()]);
    let cohere = "<|START_THINKING|>I plan.<|END_THINKING|><|START_ACTION|>[\n{\"tool_call_id\": \"0\", \"tool_name\": \"get_weather\", \"parameters\": {\"city\": \"Paris\", \"days\": 3}}\n]<|END_ACTION|>";
    check("<|START_ACTION|> <|START_THINKING|> <|START_RESPONSE|>", cohere, "I plan.", "", &[paris()]);
    check(
        "<|START_ACTION|> <|START_RESPONSE|>",
        "<|START_RESPONSE|>Sunny.<|END_RESPONSE|>",
        "",
        "Sunny.",
        &[],
    );
    let apertus = "<|tools_prefix|>[{\"get_weather\": {\"city\": \"Paris\", \"days\": 3}}]<|tools_suffix|>";
    check("<|tools_prefix|> <|inner_prefix|>", apertus, "", "", &[paris()]);
}

#[test]
fn other_syntaxes() {
    let lfm = "<|tool_call_start|>[get_weather(city=\"Paris\", days=3)]<|tool_call_end|>";
    check("<|tool_call_start|>", &format!("{lfm}Sent."), "", "Sent.", &[paris()]);
    let both =
        "<|tool_call_start|>[get_weather(city='Pa\\'ris', exact=True), get_weather()]<|tool_call_end|>";
    let first = json!({ "city": "Pa'ris", "exact": true });
    check("<|tool_call_start|>", both, "", "", &[("get_weather", first), ("get_weather", json!({}))]);
    let gemma = "<|channel>thought\nHm.<channel|><|tool_call>call:get_weather{city:<|\"|>Paris<|\"|>,days:3}<tool_call|>";
    check("<|channel> <|tool_call>", gemma, "Hm.", "", &[paris()]);
}

#[test]
fn without_tools_everything_is_content() {
    let format = ChatFormat::of("<tool_call>");
    let mut reader = ChatReader::new(&format, false, &[]);
    let text = "<tool_call>{\"name\": \"x\", \"arguments\": {}}</tool_call>";
    assert_eq!(reader.push(text), [ChatPiece::Content(text.into())]);
    // A template that opens the reasoning.
    let mut reader = ChatReader::new(&ChatFormat::of("<think>"), true, &[]);
    let mut pieces = reader.push("so\n</think>\n\nyes \n");
    pieces.extend(reader.finish());
    assert_eq!(pieces, [ChatPiece::Reasoning("so".into()), ChatPiece::Content("yes".into())]);
}
