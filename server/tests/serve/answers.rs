//! Answers of every route, whole and streamed.

use crate::fake_engine::Fake;
use crate::stage::{bytes, reciting};
use crate::{Server, TEXT};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::time::Duration;

fn chat(extra: Value) -> Value {
    let mut body = json!({ "model": "bytes", "messages": [{ "role": "user", "content": "hi" }], "temperature": 0, "max_tokens": 5 });
    for (name, value) in extra.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// What follows the prompt `user: hi\nassistant:` and the beginning of the sequence.
const BEHIND: usize = "user: hi\nassistant:".len();

#[test]
fn conversations_are_answered_whole_and_streamed() {
    let server = Server::start(&reciting(TEXT), |_, _| {});
    let whole = server.post("/v1/chat/completions", &chat(json!({})));
    assert_eq!(whole.status, 200, "{whole:?}");
    let answer = whole.json();
    let expected = &TEXT[BEHIND..BEHIND + 5];
    assert_eq!(answer["choices"][0]["message"]["content"], expected);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 5);
    assert!(whole.head.contains("x-request-id: req-"), "{whole:?}");
    let asked = chat(json!({ "stream": true, "stream_options": { "include_usage": true }, "n": 2 }));
    let streamed = server.post("/v1/chat/completions", &asked);
    assert!(streamed.head.contains("content-type: text/event-stream"), "{streamed:?}");
    let mut events = streamed.events();
    assert_eq!(events.pop().as_deref(), Some("[DONE]"));
    let events: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    for index in 0..2 {
        let of = |event: &Value| {
            let choice = event["choices"].as_array()?.iter().find(|choice| choice["index"] == index)?;
            choice["delta"]["content"].as_str().map(str::to_owned)
        };
        assert_eq!(events.iter().filter_map(of).collect::<String>(), expected);
    }
    let usage = &events.last().unwrap()["usage"];
    assert_eq!((&usage["completion_tokens"], &usage["prompt_tokens"]), (&json!(10), &json!(BEHIND + 1)));
    assert_eq!(server.count("llama_pajamas_completion_tokens_total"), 15.0);
}

#[test]
fn adapters_are_named_by_the_request() {
    let server = Server::start(&reciting(TEXT), |_, _| {});
    let text = |lora: Value| {
        let body = json!({ "prompt": "0123456789a", "max_tokens": 4, "temperature": 0, "lora": lora });
        let answer = server.post_with("/v1/completions", "", &body.to_string());
        answer.json()["choices"][0]["text"].as_str().unwrap().to_owned()
    };
    assert_eq!(text(Value::Null), "bcde");
    assert_eq!(text(json!([{ "id": 0, "scale": 0.5 }])), "BCDE");
    assert_eq!(text(json!([{ "id": 1 }])), "bcde");
    assert_eq!(text(json!([{ "id": 0, "scale": 0 }])), "bcde");
    let listed = server.get("/lora-adapters").json();
    assert_eq!((&listed[0]["id"], &listed[1]["path"]), (&json!(0), &json!("quiet.gguf")));
    assert_eq!(server.get("/v1/models").json()["data"][0]["lora"], listed);
}

#[test]
fn adapters_are_set_for_those_who_name_none() {
    let server = Server::start(&reciting(TEXT), |_, _| {});
    let text = || {
        let body = json!({ "prompt": "0123456789a", "max_tokens": 4, "temperature": 0 });
        let answer = server.post("/v1/completions", &body).json();
        answer["choices"][0]["text"].as_str().unwrap().to_owned()
    };
    let before = server.get("/lora-adapters").json();
    assert_eq!(text(), "bcde");
    let set = server.post("/lora-adapters", &json!([{ "id": 0, "scale": 0.5 }])).json();
    assert_eq!((&set[0]["scale"], &set[1]["scale"]), (&json!(0.5), &json!(0.0)));
    assert_eq!(server.get("/lora-adapters").json(), set);
    assert_eq!(text(), "BCDE");
    let wrong = server.post_with("/lora-adapters", "", &json!([{ "id": 1 }, { "id": 2 }]).to_string());
    assert_eq!(wrong.status, 400);
    let message = wrong.json()["error"]["message"].as_str().unwrap().to_owned();
    assert_eq!(message, "[1].id: expected the place of one of 2 adapters, from 0 on, got 2");
    assert_eq!(server.get("/lora-adapters").json(), set, "a wrong list changes nothing");
    let scales: Value = before
        .as_array()
        .unwrap()
        .iter()
        .map(|one| json!({ "id": one["id"], "scale": one["scale"] }))
        .collect();
    server.post("/lora-adapters", &scales);
    assert_eq!(server.get("/lora-adapters").json(), before);
    assert_eq!(text(), "bcde");
}

#[test]
fn prompts_are_gone_on_with() {
    let server = Server::start(&reciting(TEXT), |_, _| {});
    let body = json!({ "prompt": "0123", "max_tokens": 3, "temperature": 0, "logprobs": 2, "echo": true });
    let answer = server.post("/v1/completions", &body).json();
    assert_eq!(answer["choices"][0]["text"], "0123456");
    let logprobs = &answer["choices"][0]["logprobs"];
    assert_eq!(logprobs["tokens"], json!(["4", "5", "6"]));
    assert_eq!(logprobs["text_offset"], json!([4, 5, 6]));
    let tokens: Vec<i32> = [vec![1], bytes("01")].concat();
    let body = json!({ "prompt": tokens, "max_tokens": 4, "temperature": 0, "stop": "4", "stream": true });
    let streamed = server.post("/v1/completions", &body);
    let texts: String = streamed
        .events()
        .iter()
        .filter_map(|event| {
            let event: Value = serde_json::from_str(event).ok()?;
            event["choices"][0]["text"].as_str().map(str::to_owned)
        })
        .collect();
    assert_eq!(texts, "23");
}

#[test]
fn responses_have_their_events_in_order() {
    let server = Server::start(&reciting(TEXT), |_, _| {});
    let mut body = json!({ "input": "hi", "temperature": 0, "max_output_tokens": 4 });
    let whole = server.post("/v1/responses", &body).json();
    let expected = &TEXT[BEHIND..BEHIND + 4];
    assert_eq!(
        (&whole["status"], &whole["output"][0]["content"][0]["text"]),
        (&json!("incomplete"), &json!(expected))
    );
    body["stream"] = json!(true);
    let events: Vec<Value> = server
        .post("/v1/responses", &body)
        .events()
        .iter()
        .map(|e| serde_json::from_str(e).unwrap())
        .collect();
    let kinds: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!(
        kinds[..4],
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added"
        ]
    );
    assert!(kinds[4..].starts_with(&["response.output_text.delta"]));
    let ends = [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ];
    assert!(kinds.ends_with(&ends), "{kinds:?}");
    let numbers: Vec<u64> = events.iter().filter_map(|event| event["sequence_number"].as_u64()).collect();
    assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
    body["previous_response_id"] = json!("resp_1");
    assert_eq!(server.post("/v1/responses", &body).status, 400);
}

#[test]
fn texts_become_tokens_vectors_and_back() {
    let server = Server::start(&reciting(TEXT), |_, _| {});
    let tokens = server.post("/tokenize", &json!({ "content": "ab", "add_special": true })).json();
    assert_eq!(tokens["tokens"], json!([[vec![1], bytes("ab")].concat()][0]));
    let pieces = server.post("/tokenize", &json!({ "content": "a", "with_pieces": true })).json();
    assert_eq!(pieces["tokens"][0]["piece"], "a");
    let text = server.post("/detokenize", &json!({ "tokens": bytes("ab") })).json();
    assert_eq!(text["content"], "ab");
    assert_eq!(server.post("/detokenize", &json!({ "tokens": [99_999] })).status, 400);
    let vectors = server.post("/v1/embeddings", &json!({ "input": ["a", "abc"] })).json();
    assert_eq!(vectors["data"].as_array().unwrap().len(), 2);
    assert_eq!(vectors["usage"]["prompt_tokens"], 6);
    let cut = server
        .post("/v1/embeddings", &json!({ "input": "a", "encoding_format": "base64", "dimensions": 1 }))
        .json();
    assert_eq!(cut["data"][0]["embedding"], "AACAPw==");
    let ranked = server
        .post(
            "/v1/rerank",
            &json!({ "query": "a", "documents": ["b", "bcd"], "top_n": 1, "return_documents": true }),
        )
        .json();
    assert_eq!(
        (&ranked["results"][0]["index"], &ranked["results"][0]["document"]["text"]),
        (&json!(1), &json!("bcd"))
    );
}

#[test]
fn the_server_tells_about_itself() {
    let server = Server::start(&reciting(TEXT), |_, _| {});
    assert_eq!((server.get("/health").status, server.get("/ready").status), (200, 503));
    assert_eq!(server.post("/models/load", &json!({ "model": "bytes" })).status, 200);
    assert_eq!(server.get("/ready").status, 200);
    let models = server.get("/v1/models").json();
    assert_eq!((&models["data"][0]["id"], &models["data"][0]["status"]), (&json!("bytes"), &json!("loaded")));
    assert_eq!(server.get("/v1/models/bytes").json()["meta"]["n_ctx"], 256);
    assert_eq!(server.get("/v1/models/other").status, 404);
    assert_eq!(server.post("/models/unload", &json!({ "model": "bytes" })).json()["success"], true);
    assert_eq!(server.post("/models/unload", &json!({ "model": "bytes" })).json()["success"], false);
    let page = server.get("/");
    assert!(
        page.body.starts_with("<!doctype html>") && page.head.contains("default-src 'none'"),
        "{}",
        page.head
    );
    let metrics = server.get("/metrics").body;
    assert!(
        metrics.contains("llama_pajamas_requests_total{route=\"/health\",status=\"200\"} 1"),
        "{metrics}"
    );
}

#[test]
fn a_client_that_is_gone_is_answered_no_longer() {
    let slow = Fake { token_time: Some(|_| Duration::from_millis(5)), ..reciting(TEXT) };
    let server = Server::start(&slow, |_, _| {});
    for streams in [true, false] {
        let body = chat(json!({ "stream": streams, "max_tokens": 200, "ignore_eos": true })).to_string();
        let mut stream = server.connect();
        stream.write_all(crate::post("/v1/chat/completions", "", &body).as_bytes()).unwrap();
        if streams {
            let _ = stream.read(&mut [0; 64]).unwrap();
        } else {
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(stream);
        server.wait_idle();
    }
    assert_eq!(server.count("llama_pajamas_cancelled_total"), 2.0);
}

#[test]
fn answers_end_before_the_server_does() {
    let slow = Fake { token_time: Some(|_| Duration::from_millis(3)), ..reciting(TEXT) };
    let mut server = Server::start(&slow, |_, _| {});
    let body = chat(json!({ "max_tokens": 40 })).to_string();
    let mut stream = server.connect();
    stream.write_all(crate::post("/v1/chat/completions", "", &body).as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(40));
    server.end();
    let answer = crate::read(&mut stream);
    assert_eq!((answer.status, &answer.json()["usage"]["completion_tokens"]), (200, &json!(40)));
    assert!(std::net::TcpStream::connect(server.address).is_err());
}
