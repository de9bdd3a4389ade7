//! What no client should do: each gets its status, and the server goes on.

use crate::fake_engine::Fake;
use crate::stage::reciting;
use crate::{Server, TEXT, post, read};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

fn message() -> serde_json::Value {
    json!([{ "role": "user", "content": "hi" }])
}

#[test]
fn bad_bodies_are_told_what_is_wrong() {
    let server = Server::start(&reciting(TEXT), |settings, _| settings.max_body_bytes = 2000);
    let chat = "/v1/chat/completions";
    let check = |path: &str, body: &str, status: u16, said: &str| {
        let answer = server.post_with(path, "", body);
        let error = answer.json()["error"].clone();
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(error["message"].as_str().unwrap().contains(said), "{error}");
        for field in ["message", "type", "param", "code"] {
            assert!(error.get(field).is_some(), "{error}");
        }
    };
    check(chat, "", 400, "the body: EOF");
    check(chat, "{\"messages\": [", 400, "line 1 column 14");
    check(chat, "[1]", 400, "the body:");
    check(chat, "{\"messages\": \"hi\"}", 400, "invalid type");
    check(chat, "{}", 400, "messages: expected at least one");
    check(
        chat,
        &json!({ "messages": [{ "role": 3 }] }).to_string(),
        400,
        "messages[0].role: expected a text, got 3",
    );
    check(
        chat,
        &json!({ "messages": message(), "model": "x" }).to_string(),
        404,
        "expected one of bytes, got x",
    );
    check(
        chat,
        &json!({ "messages": message(), "temperature": -1 }).to_string(),
        400,
        "temperature: expected a finite number from 0 on, got -1",
    );
    check(chat, &json!({ "messages": message(), "n": 99 }).to_string(), 400, "n: expected 1 to 16, got 99");
    check(chat, &json!({ "messages": message(), "tool_choice": "required" }).to_string(), 400, "tool_choice");
    check(
        chat,
        &json!({ "messages": message(), "top_logprobs": 99, "logprobs": true }).to_string(),
        400,
        "top_logprobs",
    );
    check(
        chat,
        &json!({ "messages": message(), "logit_bias": { "99999": 1 } }).to_string(),
        400,
        "ids of tokens below 259, got 99999",
    );
    check(
        chat,
        &json!({ "messages": message(), "response_format": { "type": "xml" } }).to_string(),
        400,
        "response_format.type",
    );
    check(
        chat,
        &json!({ "messages": message(), "regex": "(" }).to_string(),
        400,
        "a regular expression that is understood",
    );
    let image = json!([{ "role": "user", "content": [{ "type": "image_url", "image_url": {} }] }]);
    check(
        chat,
        &json!({ "messages": image }).to_string(),
        400,
        "content[0].image_url.url: expected a data URI",
    );
    let picture = json!([{ "type": "image_url", "image_url": { "url": "data:image/png;base64,YQ==" } }]);
    let picture = json!([{ "role": "user", "content": picture }]);
    check(chat, &json!({ "messages": picture }).to_string(), 400, "without a projector");
    check(
        chat,
        &json!({ "messages": message(), "lora": [{ "id": 2 }] }).to_string(),
        400,
        "lora[0].id: expected the place of one of 2 adapters, from 0 on, got 2",
    );
    check(
        "/v1/completions",
        &json!({ "prompt": "x".repeat(600) }).to_string(),
        400,
        "prompt: expected 1 to 256 tokens, got 601",
    );
    check("/v1/completions", &json!({ "prompt": [1, 700] }).to_string(), 400, "ids below 259");
    check(
        "/v1/embeddings",
        &json!({ "input": [] }).to_string(),
        400,
        "input: expected 1 to 256 texts, got 0",
    );
    check(chat, &"x".repeat(4000), 413, "expected at most 2000 bytes");
    check("/v1/nothing", "{}", 404, "no such route");
    assert_eq!(server.get(chat).status, 405);
    assert_eq!(server.raw(b"nonsense\r\n\r\n").status, 400);
    // A body that says it is larger than is allowed is not waited for.
    let head = format!(
        "POST {chat} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 99999999999\r\n\r\n"
    );
    let mut stream = server.connect();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&[b'x'; 4000]).unwrap();
    assert_eq!(read(&mut stream).status, 413);
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn keys_and_origins_are_checked() {
    let server = Server::start(&reciting(TEXT), |settings, _| {
        settings.api_keys = vec!["one".into(), "two".into()];
        settings.cors_origins = vec!["https://page.example".into()];
    });
    let body = json!({ "messages": message(), "max_tokens": 1 }).to_string();
    let status = |headers: &str| server.post_with("/v1/chat/completions", headers, &body).status;
    assert_eq!(status(""), 401);
    assert_eq!(status("authorization: Bearer three\r\n"), 401);
    assert_eq!(status("authorization: Bearer \r\n"), 401);
    assert_eq!(status("authorization: Bearer two\r\n"), 200);
    assert_eq!(server.get("/metrics").status, 401);
    assert_eq!(server.get("/health").status, 200);
    let asked = |origin: &str| {
        let request = format!(
            "OPTIONS /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\norigin: {origin}\r\n\r\n"
        );
        server.raw(request.as_bytes())
    };
    let allowed = asked("https://page.example");
    assert_eq!(allowed.status, 204);
    assert!(allowed.head.contains("access-control-allow-origin: https://page.example"), "{allowed:?}");
    let other = asked("https://other.example");
    assert!(!other.head.contains("access-control") && other.status == 401, "{other:?}");
    let id = server.post_with("/v1/chat/completions", "x-request-id: mine\r\n", &body);
    assert!(id.head.contains("x-request-id: mine"), "{id:?}");
}

#[test]
fn who_sends_too_slowly_is_not_waited_for() {
    let server =
        Server::start(&reciting(TEXT), |settings, _| settings.max_reading = Duration::from_millis(200));
    let mut stream = server.connect();
    stream.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nho").unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest); // closed, with an answer or without
    let mut stream = server.connect();
    stream.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 100\r\n\r\n{").unwrap();
    assert_eq!(read(&mut stream).status, 408);
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn a_full_queue_and_too_many_connections_are_turned_away() {
    let slow = Fake { token_time: Some(|_| Duration::from_millis(5)), ..reciting(TEXT) };
    let server = Server::start(&slow, |settings, pool| {
        settings.max_connections = 6;
        (pool.n_sequences, pool.max_waiting) = (1, 1);
    });
    let body =
        json!({ "messages": message(), "max_tokens": 100, "ignore_eos": true, "stream": true }).to_string();
    let ask = || {
        let mut stream = server.connect();
        stream.write_all(post("/v1/chat/completions", "", &body).as_bytes()).unwrap();
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).unwrap();
        (stream, String::from_utf8_lossy(&begin).into_owned())
    };
    let mut streams: Vec<(TcpStream, String)> = Vec::new();
    for _ in 0..4 {
        streams.push(ask());
    }
    let statuses: Vec<&str> = streams.iter().map(|(_, begin)| &begin[9..]).collect();
    assert!(statuses.contains(&"200") && statuses.contains(&"429"), "{statuses:?}");
    let idle: Vec<TcpStream> = (0..6).map(|_| server.connect()).collect();
    let away = server.get("/health");
    assert_eq!((away.status, &away.json()["error"]["code"]), (503, &json!("too_many_connections")));
    drop((idle, streams));
    for _ in 0..200 {
        if server.get("/health").status == 200 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    server.wait_idle();
    assert!(server.count("llama_pajamas_connections_turned_away_total") >= 1.0);
}

#[test]
fn what_takes_too_long_is_ended() {
    let slow = Fake { token_time: Some(|_| Duration::from_millis(10)), ..reciting(TEXT) };
    let server = Server::start(&slow, |settings, _| settings.max_time = Duration::from_millis(100));
    let mut body = json!({ "messages": message(), "max_tokens": 200, "ignore_eos": true });
    assert_eq!(server.post("/v1/chat/completions", &body).status, 504);
    body["stream"] = json!(true);
    let streamed = server.post("/v1/chat/completions", &body);
    let last: serde_json::Value = serde_json::from_str(streamed.events().last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "timeout");
    server.wait_idle();
}
